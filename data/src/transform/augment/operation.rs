//! Every operation of the policies, with its strength, as one value.

use super::affine::{Interpolation, affine, rotate};
use super::enhance::{brightness, contrast, saturation, sharpness};
use super::histogram::{auto_contrast, equalize};
use super::pointwise::{invert, posterize, solarize, solarize_add};
use crate::error::Result;
use crate::image::Image;

/// An operation and its strength.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Operation {
    /// [`auto_contrast`].
    AutoContrast,
    /// [`equalize`].
    Equalize,
    /// [`invert`].
    Invert,
    /// [`rotate`], in degrees against the clock.
    Rotate(f64),
    /// [`posterize`], to this many bits.
    Posterize(u32),
    /// [`solarize`], from this level on.
    Solarize(u32),
    /// [`solarize_add`], by this many levels.
    SolarizeAdd(u8),
    /// [`saturation`], by this factor.
    Saturation(f64),
    /// [`contrast`], by this factor.
    Contrast(f64),
    /// [`brightness`], by this factor.
    Brightness(f64),
    /// [`sharpness`], by this factor.
    Sharpness(f64),
    /// Row `y` moves left by this many times `y`.
    ShearX(f64),
    /// Column `x` moves up by this many times `x`.
    ShearY(f64),
    /// Moves left by this share of the width.
    TranslateX(f64),
    /// Moves up by this share of the height.
    TranslateY(f64),
}

impl Operation {
    /// The result. `interpolation` and `fill` (one level a channel, or one for all) are for the operations that move
    /// pixels.
    ///
    /// # Errors
    /// [`Error::Unsuited`](crate::Error::Unsuited) unless the image has 8-bit samples of 1 or 3 channels;
    /// [`Error::Setting`](crate::Error::Setting) if pixels are moved by what is no finite number, or `fill` is of
    /// another number of channels.
    pub fn apply(&self, image: &Image, interpolation: Interpolation, fill: &[u8]) -> Result<Image> {
        let moved = |matrix| affine(image, matrix, interpolation, fill);
        match *self {
            Self::AutoContrast => auto_contrast(image),
            Self::Equalize => equalize(image),
            Self::Invert => invert(image),
            Self::Rotate(degrees) => rotate(image, degrees, interpolation, fill),
            Self::Posterize(bits) => posterize(image, bits),
            Self::Solarize(threshold) => solarize(image, threshold),
            Self::SolarizeAdd(add) => solarize_add(image, add),
            Self::Saturation(factor) => saturation(image, factor),
            Self::Contrast(factor) => contrast(image, factor),
            Self::Brightness(factor) => brightness(image, factor),
            Self::Sharpness(factor) => sharpness(image, factor),
            Self::ShearX(by) => moved([1.0, by, 0.0, 0.0, 1.0, 0.0]),
            Self::ShearY(by) => moved([1.0, 0.0, 0.0, by, 1.0, 0.0]),
            Self::TranslateX(by) => moved([1.0, 0.0, by * image.width as f64, 0.0, 1.0, 0.0]),
            Self::TranslateY(by) => moved([1.0, 0.0, 0.0, 0.0, 1.0, by * image.height as f64]),
        }
    }
}
