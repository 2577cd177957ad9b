//! BYOL's random crop.

use rand::{Rng, RngCore};

use super::CropBox;
use super::random_crop::check;
use crate::error::Result;

/// A crop of random size, shape and place, drawn in one try: a side that comes out longer than the image's is cut to it.
///
/// This is what MAE's published code has beside torchvision's crop, as `RandomResizedCrop` of its `util/crop.py`, to
/// match its TPU version ("no for-loop is used"), which follows BYOL's. Torchvision tries again where a crop does not
/// fit; see [`RandomResizedCrop`](super::RandomResizedCrop).
#[derive(Clone, Debug, PartialEq)]
pub struct ByolCrop {
    scale: (f64, f64),
    ratio: (f64, f64),
}

impl Default for ByolCrop {
    /// 0.08 to 1 of the area, 3/4 to 4/3 as wide as high.
    fn default() -> Self {
        Self { scale: (0.08, 1.0), ratio: (3.0 / 4.0, 4.0 / 3.0) }
    }
}

impl ByolCrop {
    /// A crop of a share of the image's area within `scale` and of a width divided by height within `ratio`, before
    /// sides are cut.
    ///
    /// # Errors
    /// [`Error::Setting`](crate::Error::Setting) if the numbers are not above 0, the shares not at most 1, or not in order.
    pub fn new(scale: (f64, f64), ratio: (f64, f64)) -> Result<Self> {
        check(scale, ratio)?;
        Ok(Self { scale, ratio })
    }

    /// Draws a box for an image of this size.
    pub fn params(&self, height: usize, width: usize, rng: &mut dyn RngCore) -> CropBox {
        self.at(height, width, rng.random())
    }

    /// The box that four numbers stand for, each at least 0 and below 1: the share of the area, the logarithm of the
    /// shape, the row, and the column.
    pub fn at(&self, height: usize, width: usize, [area, shape, row, column]: [f64; 4]) -> CropBox {
        let target = height as f64 * width as f64 * between(self.scale, area);
        let ratio = between((self.ratio.0.ln(), self.ratio.1.ln()), shape).exp();
        // At least one pixel, which the original leaves to its images' size.
        let side =
            |v: f64, most: usize| (v.sqrt().round_ties_even() as usize).clamp(1, most.max(1));
        let (crop_height, crop_width) = (side(target / ratio, height), side(target * ratio, width));
        CropBox {
            top: place(row, height, crop_height),
            left: place(column, width, crop_width),
            height: crop_height,
            width: crop_width,
        }
    }
}

/// `low` for 0, `high` for 1.
pub(super) fn between((low, high): (f64, f64), share: f64) -> f64 {
    low + (high - low) * share
}

/// The start of a stretch of `len` within `all`; every one is as likely if `share` is uniform in [0, 1).
pub(super) fn place(share: f64, all: usize, len: usize) -> usize {
    let last = all.saturating_sub(len);
    ((share * (last + 1) as f64) as usize).min(last)
}
