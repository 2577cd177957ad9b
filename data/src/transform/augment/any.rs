//! Any of the augmentations.

use std::str::FromStr;

use rand::RngCore;

use super::{AutoAugment, ColorJitter, Interpolation, RandAugment};
use crate::error::{Error, Result};
use crate::image::Image;
use crate::transform::Normalize;

/// What changes the colours and shapes of 8-bit images in training.
#[derive(Clone, Debug, PartialEq)]
pub enum Augment {
    /// RandAugment.
    Rand(RandAugment),
    /// AutoAugment.
    Auto(AutoAugment),
    /// Brightness, contrast, saturation and hue.
    Jitter(ColorJitter),
}

impl FromStr for Augment {
    type Err = Error;

    /// By timm's names: see [`RandAugment`] and [`AutoAugment`].
    ///
    /// # Errors
    /// [`Error::Setting`] if the text is of neither form.
    fn from_str(config: &str) -> Result<Self> {
        match config.split('-').next().unwrap_or_default() {
            "rand" => config.parse().map(Self::Rand),
            "original" | "originalr" | "v0" | "v0r" => config.parse().map(Self::Auto),
            _ => Err(Error::Setting {
                name: "augmentation",
                found: config.into(),
                expected: "expected RandAugment, such as rand-m9-mstd0.5-inc1, or AutoAugment: original, originalr, v0 or \
                           v0r"
                    .into(),
            }),
        }
    }
}

impl Augment {
    /// timm's colour jitter of one number: brightness, contrast and saturation by a strength, the hue left alone.
    ///
    /// # Errors
    /// [`Error::Setting`] if the strength is negative or not finite.
    pub fn jitter(strength: f64) -> Result<Self> {
        ColorJitter::new(strength, strength, strength, 0.0).map(Self::Jitter)
    }

    /// As timm's training has it: what is moved is interpolated bicubically, and the rest filled with the mean that
    /// `normalize` subtracts.
    pub fn for_training(self, normalize: &Normalize) -> Self {
        let how = Some(Interpolation::Bicubic);
        match self {
            Self::Rand(rand) => Self::Rand(rand.with_interpolation(how).with_fill(normalize)),
            Self::Auto(auto) => Self::Auto(auto.with_interpolation(how).with_fill(normalize)),
            Self::Jitter(jitter) => Self::Jitter(jitter),
        }
    }

    /// Draws, and carries out.
    ///
    /// # Errors
    /// [`Error::Unsuited`] unless the image has 8-bit samples of 1 or 3 channels, [`Error::Setting`] if the fill is of
    /// another number of channels.
    pub fn apply(&self, image: &Image, rng: &mut dyn RngCore) -> Result<Image> {
        match self {
            Self::Rand(rand) => rand.apply(image, rng),
            Self::Auto(auto) => auto.apply(image, rng),
            Self::Jitter(jitter) => jitter.apply(image, rng),
        }
    }
}
