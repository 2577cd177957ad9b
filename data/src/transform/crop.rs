//! Which part of an image is taken.

use rand::{Rng, RngCore};

use super::random_crop::check;
use super::{Size, crop_resize};
use crate::error::{Error, Result};
use crate::image::{Image, Pixels};
use crate::size::MAX_PIXELS;

/// A rectangle of an image, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CropBox {
    /// First row.
    pub top: usize,
    /// First column.
    pub left: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

impl CropBox {
    /// All of an image.
    pub fn whole(image: &Image) -> Self {
        Self { top: 0, left: 0, height: image.height, width: image.width }
    }

    /// An error unless the box has pixels and all of them lie in the image.
    pub(crate) fn check(&self, image: &Image) -> Result<()> {
        image.check()?;
        self.check_inside(Size { height: image.height, width: image.width })
    }

    /// An error unless the box has pixels and all of them lie in an image of this size.
    pub(crate) fn check_inside(&self, image: Size) -> Result<()> {
        let inside =
            |start: usize, len: usize, end: usize| len > 0 && start < end && len <= end - start;
        if inside(self.top, self.height, image.height) && inside(self.left, self.width, image.width)
        {
            return Ok(());
        }
        Err(Error::Crop {
            top: self.top,
            left: self.left,
            crop_height: self.height,
            crop_width: self.width,
            height: image.height,
            width: image.width,
        })
    }
}

/// A crop of random size, shape and place, as torchvision's `RandomResizedCrop`.
///
/// The shape is drawn independently of the shape that the crop is then resized to.
#[derive(Clone, Debug, PartialEq)]
pub struct RandomResizedCrop {
    scale: (f64, f64),
    ratio: (f64, f64),
}

impl Default for RandomResizedCrop {
    /// MAE's: 0.2 to 1 of the area, 3/4 to 4/3 as wide as high.
    fn default() -> Self {
        Self { scale: (0.2, 1.0), ratio: (3.0 / 4.0, 4.0 / 3.0) }
    }
}

impl RandomResizedCrop {
    /// torchvision's and timm's for classification: 0.08 to 1 of the area.
    pub fn classification() -> Self {
        Self { scale: (0.08, 1.0), ..Self::default() }
    }

    /// A crop of a share of the image's area within `scale` and of a width divided by height within `ratio`.
    ///
    /// # Errors
    /// [`Error::Setting`] if the shares are not above 0 and at most 1, the ratios not above 0, or not in order.
    pub fn new(scale: (f64, f64), ratio: (f64, f64)) -> Result<Self> {
        check(scale, ratio)?;
        Ok(Self { scale, ratio })
    }

    /// Draws a box as torchvision's `get_params` does: up to ten tries for one that fits, then the largest central box
    /// of an allowed shape.
    pub fn params(&self, height: usize, width: usize, rng: &mut dyn RngCore) -> CropBox {
        let area = (height * width) as f64;
        let (log_low, log_high) = (self.ratio.0.ln(), self.ratio.1.ln());
        for _ in 0..10 {
            let target = area * rng.random_range(self.scale.0..=self.scale.1);
            let ratio = rng.random_range(log_low..=log_high).exp();
            let crop_width = (target * ratio).sqrt().round_ties_even() as usize;
            let crop_height = (target / ratio).sqrt().round_ties_even() as usize;
            if (1..=width).contains(&crop_width) && (1..=height).contains(&crop_height) {
                let top = rng.random_range(0..=height - crop_height);
                let left = rng.random_range(0..=width - crop_width);
                return CropBox { top, left, height: crop_height, width: crop_width };
            }
        }
        self.central(height, width)
    }

    fn central(&self, height: usize, width: usize) -> CropBox {
        let (low, high) = self.ratio;
        let ratio = width as f64 / height as f64;
        let rounded = |side: f64, most: usize| (side.round_ties_even() as usize).clamp(1, most);
        let (crop_height, crop_width) = if ratio < low {
            (rounded(width as f64 / low, height), width)
        } else if ratio > high {
            (height, rounded(height as f64 * high, width))
        } else {
            (height, width)
        };
        let (top, left) = ((height - crop_height) / 2, (width - crop_width) / 2);
        CropBox { top, left, height: crop_height, width: crop_width }
    }
}

/// The middle of an image: resized so that the result is `share` of the shorter side, then cropped.
#[derive(Clone, Debug, PartialEq)]
pub struct EvalCrop {
    share: f64,
}

impl Default for EvalCrop {
    /// 224/256, as torchvision's references have it; see [`for_size`](Self::for_size) for MAE's.
    fn default() -> Self {
        Self { share: 224.0 / 256.0 }
    }
}

impl EvalCrop {
    /// MAE's for classification: 224/256 up to a size of 224, and no margin above.
    pub fn for_size(size: Size) -> Self {
        let side = size.height.max(size.width);
        if side <= 224 { Self::default() } else { Self { share: 1.0 } }
    }

    /// A crop whose side is `share` of the resized image's side.
    ///
    /// # Errors
    /// [`Error::Setting`] if the share is not above 0 and at most 1.
    pub fn new(share: f64) -> Result<Self> {
        if share > 0.0 && share <= 1.0 {
            return Ok(Self { share });
        }
        let expected = "a share above 0 and at most 1".into();
        Err(Error::Setting { name: "evaluation crop", found: share.to_string(), expected })
    }

    /// Resizes, then cuts out the middle.
    ///
    /// For a size that is not square, the side that needs the larger scale takes the place of the shorter one.
    ///
    /// # Errors
    /// [`Error::Shape`] if the image's sizes and samples do not fit together; [`Error::TooLarge`] for a strip that would
    /// have to be resized to more than [`MAX_PIXELS`](crate::MAX_PIXELS).
    pub fn apply(&self, image: &Image, size: Size) -> Result<Image> {
        let resized = self.resized(image, size);
        // A long strip of an image would be resized to a much longer one.
        let (width, height, limit) = (resized.width as u64, resized.height as u64, MAX_PIXELS);
        if width.saturating_mul(height) > limit {
            return Err(Error::TooLarge { width, height, limit });
        }
        let image = crop_resize(image, CropBox::whole(image), resized)?;
        let margin =
            |have: usize, want: usize| ((have - want) as f64 / 2.0).round_ties_even() as usize;
        let (top, left) = (margin(image.height, size.height), margin(image.width, size.width));
        crop(&image, CropBox { top, left, height: size.height, width: size.width })
    }

    fn resized(&self, image: &Image, size: Size) -> Size {
        let height = (size.height as f64 / self.share) as usize;
        let width = (size.width as f64 / self.share) as usize;
        if height * image.width >= width * image.height {
            Size { height, width: height * image.width / image.height.max(1) }
        } else {
            Size { height: width * image.height / image.width.max(1), width }
        }
    }
}

/// Cuts a box out of an image.
///
/// # Errors
/// [`Error::Crop`] if the box is empty or reaches out of the image.
pub fn crop(image: &Image, area: CropBox) -> Result<Image> {
    area.check(image)?;
    let pixels = match &image.pixels {
        Pixels::U8(samples) => Pixels::U8(cut(samples, image, area)),
        Pixels::F32(samples) => Pixels::F32(cut(samples, image, area)),
    };
    Image::new(area.width, area.height, image.channels, pixels)
}

fn cut<T: Copy>(samples: &[T], image: &Image, area: CropBox) -> Vec<T> {
    let mut out = Vec::with_capacity(area.height * area.width * image.channels);
    for row in samples.chunks_exact(image.width * image.channels).skip(area.top).take(area.height) {
        out.extend_from_slice(
            &row[area.left * image.channels..(area.left + area.width) * image.channels],
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Purpose, stream};

    #[test]
    fn boxes_lie_inside_and_have_the_sizes_asked_for() {
        let crop = RandomResizedCrop::default();
        for position in 0..2_000 {
            let mut rng = stream(1, 0, position, Purpose::Crop);
            let (height, width) = (100, 130);
            let b = crop.params(height, width, &mut rng);
            assert!(b.top + b.height <= height && b.left + b.width <= width);
            let share = (b.height * b.width) as f64 / (height * width) as f64;
            let ratio = b.width as f64 / b.height as f64;
            assert!((0.19..=1.0).contains(&share), "{b:?}");
            assert!((0.72..=1.38).contains(&ratio), "{b:?}");
        }
    }

    /// The mean share of uniformly drawn shares, cut off by boxes that do not fit, is near 0.55.
    #[test]
    fn shares_are_spread_over_the_range() {
        let crop = RandomResizedCrop::default();
        let share = |position| {
            let b = crop.params(300, 300, &mut stream(2, 0, position, Purpose::Crop));
            (b.height * b.width) as f64 / 90_000.0
        };
        let mean = (0..4_000).map(share).sum::<f64>() / 4_000.0;
        assert!((0.5..0.6).contains(&mean), "{mean}");
    }

    #[test]
    fn what_cannot_fit_falls_back_to_the_middle_as_torchvision_does() {
        let crop = RandomResizedCrop::default();
        let mut rng = stream(3, 0, 0, Purpose::Crop);
        assert_eq!(
            crop.params(10, 1000, &mut rng),
            CropBox { top: 0, left: 493, height: 10, width: 13 }
        );
        assert_eq!(
            crop.params(1000, 10, &mut rng),
            CropBox { top: 493, left: 0, height: 13, width: 10 }
        );
        assert_eq!(crop.params(1, 1, &mut rng), CropBox { top: 0, left: 0, height: 1, width: 1 });
    }

    #[test]
    fn settings_that_cannot_be_are_refused() {
        for (scale, ratio) in [
            ((0.0, 1.0), (1.0, 1.0)),
            ((0.5, 0.2), (1.0, 1.0)),
            ((0.2, 1.5), (1.0, 1.0)),
            ((0.2, 1.0), (f64::NAN, 1.0)),
        ] {
            assert!(RandomResizedCrop::new(scale, ratio).is_err(), "{scale:?} {ratio:?}");
        }
        assert!(
            EvalCrop::new(0.0).is_err()
                && EvalCrop::new(1.1).is_err()
                && EvalCrop::new(f64::NAN).is_err()
        );
        assert!(
            RandomResizedCrop::new((1.0, 1.0), (1.0, 1.0)).is_ok() && EvalCrop::new(1.0).is_ok()
        );
    }

    #[test]
    fn an_oblong_result_is_cut_from_the_middle() {
        let image = Image::new(8, 6, 1, Pixels::U8((0..48).collect())).unwrap();
        let eval = EvalCrop::new(1.0).unwrap();
        assert_eq!(eval.apply(&image, Size::new(6, 4).unwrap()).unwrap().pixels.len(), 24);
        let cut = eval.apply(&image, Size::new(2, 8).unwrap()).unwrap();
        assert_eq!(cut.pixels, Pixels::U8((16..32).collect()));
        assert!(matches!(
            crop(&image, CropBox { top: 5, left: 0, height: 2, width: 1 }),
            Err(Error::Crop { .. })
        ));
    }

    #[test]
    fn images_above_224_pixels_have_no_margin() {
        let resized = |side| {
            let size = Size::square(side).unwrap();
            let image = Image::new(500, 400, 1, Pixels::U8(vec![0; 200_000])).unwrap();
            let Size { height, width } = EvalCrop::for_size(size).resized(&image, size);
            (height, width)
        };
        // MAE: Resize(int(side / crop_pct)) of the shorter side.
        assert_eq!(
            [32, 224, 225, 384].map(resized),
            [(36, 45), (256, 320), (225, 281), (384, 480)]
        );
    }

    #[test]
    fn a_strip_is_not_resized_without_bounds() {
        let image = Image::new(1, 1_000_000, 1, Pixels::U8(vec![0; 1_000_000])).unwrap();
        let refused = EvalCrop::default().apply(&image, Size::square(224).unwrap());
        assert!(matches!(refused, Err(Error::TooLarge { .. })));
    }
}
