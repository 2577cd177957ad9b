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
        let (mut common, mut all) = (0_u64, 0_u64);
        self.walk(truth, |length, found, true_| {
            common += if found && true_ { u64::from(length) } else { 0 };
            all += if found || true_ { u64::from(length) } else { 0 };
        })?;
        Ok(match (common, crowd) {
            (0, _) => 0.0,
            (_, true) => common as f64 / self.area() as f64,
            (_, false) => common as f64 / all as f64,
        })
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
