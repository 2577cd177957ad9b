//! Masks as runs of pixels, as COCO has them.
//!
//! An [`Rle`] is a binary mask of an image, stored as the lengths of runs of zeros and ones in turn, column by column
//! from the left, each from top to bottom, and beginning with zeros. Everything here gives what pycocotools gives, to
//! the bit: [`Rle::from_polygon`] is its `rleFrPoly`, [`Rle::parse`] and [`Rle::to_compressed`] are its strings.
//!
//! ```
//! use longmae_data::rle::{Rle, box_iou};
//! use longmae_data::Size;
//!
//! # fn main() -> longmae_data::Result<()> {
//! let size = Size::new(20, 30)?;
//! let square = Rle::from_polygon(&[5.0, 5.0, 5.0, 15.0, 15.0, 15.0, 15.0, 5.0], size)?;
//! assert_eq!((square.area(), square.bbox()), (100, [5.0, 5.0, 10.0, 10.0]));
//! assert_eq!(Rle::parse(&square.to_compressed(), size)?, square);
//!
//! let half = Rle::from_box([5.0, 5.0, 5.0, 10.0], size)?;
//! assert_eq!(half.iou(&square, false)?, 0.5);
//! // Of a crowd, any part is as good as all of it.
//! assert_eq!(half.iou(&square, true)?, 1.0);
//! assert_eq!(box_iou(half.bbox(), square.bbox(), false), 0.5);
//! # Ok(())
//! # }
//! ```

mod merge;
mod overlap;
mod polygon;
mod text;

pub use overlap::box_iou;

use crate::error::{Error, Result};
use crate::size::{MAX_PIXELS, Size};

/// A binary mask of an image as lengths of runs, see the [module](self).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rle {
    size: Size,
    /// Zeros, ones, zeros and so on; they add up to the image's pixels, and only the first may be 0.
    counts: Vec<u32>,
}

impl Rle {
    /// A mask of run lengths: zeros, ones, zeros and so on, as in the `counts` of a COCO file.
    ///
    /// Empty runs are taken out, and what they separate is joined.
    ///
    /// # Errors
    /// [`Error::Mask`] if the runs do not add up to the image's pixels, or the image has a side of 0 or more pixels
    /// than [`MAX_PIXELS`].
    pub fn new(counts: impl IntoIterator<Item = u32>, size: Size) -> Result<Self> {
        let (pixels, counts) = (pixels(size)?, counts.into_iter());
        let (mut kept, mut total): (Vec<u32>, u64) = (Vec::with_capacity(counts.size_hint().0), 0);
        for (number, count) in counts.enumerate() {
            total += u64::from(count);
            if total > u64::from(pixels) {
                break;
            }
            // The run that comes next is one of ones if an odd number is there.
            let fits = (number % 2 == 1) == (kept.len() % 2 == 1);
            match kept.last_mut() {
                Some(_) if count == 0 => {}
                Some(last) if !fits => *last += count,
                _ => kept.push(count),
            }
        }
        match total == u64::from(pixels) {
            true => Ok(Self { size, counts: kept }),
            false => Err(refused(format!(
                "its runs have {}{total} pixels, the image of {} x {} has {pixels}",
                if total > u64::from(pixels) { "at least " } else { "" },
                size.height,
                size.width,
            ))),
        }
    }

    /// A mask without a pixel.
    ///
    /// # Errors
    /// [`Error::Mask`] for a size that [`new`](Self::new) refuses.
    pub fn empty(size: Size) -> Result<Self> {
        Self::new([pixels(size)?], size)
    }

    /// The mask of a bitmap of `[height, width]`; all that is not 0 belongs to the mask.
    ///
    /// # Errors
    /// [`Error::Mask`] if there are not as many values as pixels, or the size is one that [`new`](Self::new) refuses.
    pub fn from_bitmap(bitmap: &[u8], size: Size) -> Result<Self> {
        let pixels = pixels(size)?;
        if bitmap.len() != pixels as usize {
            let (height, width) = (size.height, size.width);
            let found = bitmap.len();
            return Err(refused(format!("its bitmap of {height} x {width} has {found} values")));
        }
        let column = |x: usize| bitmap.iter().skip(x).step_by(size.width);
        let (mut counts, mut run, mut ones) = (Vec::new(), 0, false);
        for &value in (0..size.width).flat_map(column) {
            if (value != 0) != ones {
                counts.push(run);
                (run, ones) = (0, !ones);
            }
            run += 1;
        }
        counts.push(run);
        Ok(Self { size, counts })
    }

    /// The mask as a bitmap of `[height, width]` with 1 for what belongs to it.
    pub fn to_bitmap(&self) -> Vec<u8> {
        let Size { height, width } = self.size;
        let mut bitmap = vec![0; height * width];
        for (start, end) in self.ones() {
            for at in start..end {
                let (x, y) = (at as usize / height, at as usize % height);
                bitmap[y * width + x] = 1;
            }
        }
        bitmap
    }

    /// An error unless the mask is of an image of this size.
    pub(crate) fn check_size(&self, size: Size) -> Result<()> {
        if self.size == size {
            return Ok(());
        }
        Err(refused(format!(
            "its image has {} x {} pixels, where {} x {} are expected",
            self.size.height, self.size.width, size.height, size.width
        )))
    }

    /// Rows and columns of the image.
    pub fn size(&self) -> Size {
        self.size
    }

    /// The lengths of the runs, zeros first.
    pub fn counts(&self) -> &[u32] {
        &self.counts
    }

    /// How many pixels belong to the mask.
    pub fn area(&self) -> u64 {
        self.counts.iter().skip(1).step_by(2).map(|&count| u64::from(count)).sum()
    }

    /// The smallest box around the mask: x, y, width, height in pixels; all 0 for an empty mask.
    pub fn bbox(&self) -> [f64; 4] {
        let height = self.size.height as u32;
        let (mut left, mut top, mut right, mut bottom) = (u32::MAX, u32::MAX, 0, 0);
        for (start, end) in self.ones() {
            let (first, last) = (start / height, (end - 1) / height);
            let (up, down) = match first == last {
                true => (start % height, (end - 1) % height),
                false => (0, height - 1),
            };
            (left, right) = (left.min(first), right.max(last));
            (top, bottom) = (top.min(up), bottom.max(down));
        }
        if left > right {
            return [0.0; 4];
        }
        [left, top, right - left + 1, bottom - top + 1].map(f64::from)
    }

    /// Where each run of ones starts, and where it has ended, column by column.
    fn ones(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        let mut end = 0;
        self.counts.chunks(2).filter_map(move |runs| {
            let start = end + runs[0];
            end = start + runs.get(1).copied().unwrap_or(0);
            (start < end).then_some((start, end))
        })
    }
}

/// The pixels of an image, if it may have that many.
fn pixels(size: Size) -> Result<u32> {
    let pixels = (size.height as u64).checked_mul(size.width as u64);
    match pixels.filter(|&n| n <= MAX_PIXELS).and_then(|n| u32::try_from(n).ok()) {
        Some(pixels) if pixels > 0 => Ok(pixels),
        _ => Err(refused(format!(
            "its image of {} x {} pixels has none, or more than {MAX_PIXELS}",
            size.height, size.width
        ))),
    }
}

pub(crate) fn refused(reason: String) -> Error {
    Error::Mask { reason }
}
