//! How much masks and boxes overlap.

use super::Rle;
use crate::error::Result;

impl Rle {
    /// Intersection over union of this mask, a found one, with a true one: pycocotools' `iou`.
    ///
    /// If the true one is a `crowd`, the intersection is divided by this mask's own area, since any part of a crowd is
    /// as good as all of it. Two masks that have no pixel in common, empty ones too, have 0.
    ///
    /// # Errors
    /// [`Error::Mask`](crate::Error::Mask) if the masks are of images of different sizes.
    pub fn iou(&self, truth: &Rle, crowd: bool) -> Result<f64> {
        let common = self.common(truth)?;
        let all = if crowd { self.area() } else { self.area() + truth.area() - common };
        Ok(if common == 0 { 0.0 } else { common as f64 / all as f64 })
    }

    /// How many pixels belong to both masks.
    ///
    /// # Errors
    /// [`Error::Mask`](crate::Error::Mask) if the masks are of images of different sizes.
    pub fn common(&self, other: &Rle) -> Result<u64> {
        self.check_size(other.size)?;
        let mut runs = [Ends::new(&self.counts), Ends::new(&other.counts)];
        let (mut common, mut at) = (0, 0);
        loop {
            let end = runs[0].end.min(runs[1].end);
            if runs[0].ones & runs[1].ones {
                common += u64::from(end - at);
            }
            at = end;
            for runs in &mut runs {
                if runs.end == end && !runs.advance() {
                    return Ok(common);
                }
            }
        }
    }
}

/// A run, as the place where it ends, and the runs after it.
struct Ends<'a> {
    counts: std::slice::Iter<'a, u32>,
    end: u32,
    ones: bool,
}

impl<'a> Ends<'a> {
    fn new(counts: &'a [u32]) -> Self {
        // Runs of ones begin with the second.
        let mut ends = Self { counts: counts.iter(), end: 0, ones: true };
        ends.advance();
        ends
    }

    /// Goes on to the next run, if there is one.
    fn advance(&mut self) -> bool {
        let Some(count) = self.counts.next() else { return false };
        (self.end, self.ones) = (self.end + count, !self.ones);
        true
    }
}

/// Intersection over union of a found box with a true one, each as x, y, width, height; `crowd` as in [`Rle::iou`].
pub fn box_iou(found: [f64; 4], truth: [f64; 4], crowd: bool) -> f64 {
    let side = |axis: usize| {
        let end = (found[axis + 2] + found[axis]).min(truth[axis + 2] + truth[axis]);
        end - found[axis].max(truth[axis])
    };
    let (width, height) = (side(0), side(1));
    if !(width > 0.0 && height > 0.0) {
        return 0.0;
    }
    let (common, area) = (width * height, found[2] * found[3]);
    common / if crowd { area } else { area + truth[2] * truth[3] - common }
}
