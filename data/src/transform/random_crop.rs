//! The ways to draw a crop.

use rand::RngCore;

use super::{ByolCrop, CropBox, RandomResizedCrop, check_range};
use crate::error::{Error, Result};

/// A crop of random size, shape and place, drawn in one way or another.
#[derive(Clone, Debug, PartialEq)]
pub enum RandomCrop {
    /// Torchvision's, with up to ten tries.
    Resized(RandomResizedCrop),
    /// BYOL's, in one try.
    Byol(ByolCrop),
}

impl RandomCrop {
    /// Draws a box for an image of this size.
    pub fn params(&self, height: usize, width: usize, rng: &mut dyn RngCore) -> CropBox {
        match self {
            Self::Resized(crop) => crop.params(height, width, rng),
            Self::Byol(crop) => crop.params(height, width, rng),
        }
    }
}

impl From<RandomResizedCrop> for RandomCrop {
    fn from(crop: RandomResizedCrop) -> Self {
        Self::Resized(crop)
    }
}

impl From<ByolCrop> for RandomCrop {
    fn from(crop: ByolCrop) -> Self {
        Self::Byol(crop)
    }
}

/// An error unless the shares of an area are above 0 and at most 1, the ratios of sides above 0, and both in order.
pub(super) fn check(scale: (f64, f64), ratio: (f64, f64)) -> Result<()> {
    check_range("crop scale", scale, 0.0)?;
    check_range("crop ratio", ratio, 0.0)?;
    if scale.1 <= 1.0 {
        return Ok(());
    }
    let expected = "shares of the image's area, at most 1".into();
    Err(Error::Setting { name: "crop scale", found: scale.1.to_string(), expected })
}
