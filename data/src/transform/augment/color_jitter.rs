//! torchvision's `ColorJitter`.

use rand::seq::SliceRandom;
use rand::{Rng, RngCore};

use super::enhance::{brightness, contrast, saturation};
use super::hue::hue;
use super::samples::bytes;
use crate::error::{Error, Result};
use crate::image::Image;

/// One of the four changes, with its strength.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Adjustment {
    /// [`brightness`], by this factor.
    Brightness(f64),
    /// [`contrast`], by this factor.
    Contrast(f64),
    /// [`saturation`], by this factor.
    Saturation(f64),
    /// [`hue`], by this part of the colour circle.
    Hue(f64),
}

impl Adjustment {
    /// The image, changed.
    ///
    /// # Errors
    /// [`Error::Unsuited`] unless the image has 8-bit samples of 1 or 3 channels, [`Error::Setting`] for a hue outside
    /// of -0.5 to 0.5.
    pub fn apply(&self, image: &Image) -> Result<Image> {
        match *self {
            Self::Brightness(factor) => brightness(image, factor),
            Self::Contrast(factor) => contrast(image, factor),
            Self::Saturation(factor) => saturation(image, factor),
            Self::Hue(turn) => hue(image, turn),
        }
    }
}

/// Changes brightness, contrast, saturation and hue at random, in random order.
#[derive(Clone, Debug, PartialEq)]
pub struct ColorJitter {
    brightness: (f64, f64),
    contrast: (f64, f64),
    saturation: (f64, f64),
    hue: (f64, f64),
}

impl ColorJitter {
    /// Factors between `1 - strength` (at least 0) and `1 + strength`, and turns of the hue between `-hue` and `hue`.
    /// A strength of 0 leaves that change out.
    ///
    /// # Errors
    /// [`Error::Setting`] if a strength is negative or not finite, or `hue` above 0.5.
    pub fn new(brightness: f64, contrast: f64, saturation: f64, hue: f64) -> Result<Self> {
        let around = |name, strength: f64| match strength {
            v if v >= 0.0 && v.is_finite() => Ok(((1.0 - v).max(0.0), 1.0 + v)),
            v => Err(Error::Setting {
                name,
                found: v.to_string(),
                expected: "a strength of 0 or more".into(),
            }),
        };
        Self::in_ranges(
            around("brightness", brightness)?,
            around("contrast", contrast)?,
            around("saturation", saturation)?,
            (-hue, hue),
        )
    }

    /// Factors and turns between the two numbers each. `(1, 1)`, or `(0, 0)` for the hue, leaves that change out.
    ///
    /// # Errors
    /// [`Error::Setting`] if two numbers are not in order, or not within 0 and infinity, for the hue -0.5 and 0.5.
    pub fn in_ranges(
        brightness: (f64, f64),
        contrast: (f64, f64),
        saturation: (f64, f64),
        hue: (f64, f64),
    ) -> Result<Self> {
        let check = |name, (low, high): (f64, f64), (least, most): (f64, f64)| {
            if least <= low && low <= high && high <= most {
                return Ok((low, high));
            }
            let expected = format!("two numbers between {least} and {most}, the smaller one first");
            Err(Error::Setting { name, found: format!("{low} to {high}"), expected })
        };
        Ok(Self {
            brightness: check("brightness", brightness, (0.0, f64::MAX))?,
            contrast: check("contrast", contrast, (0.0, f64::MAX))?,
            saturation: check("saturation", saturation, (0.0, f64::MAX))?,
            hue: check("hue", hue, (-0.5, 0.5))?,
        })
    }

    /// The changes for one image, in order.
    pub fn draw(&self, rng: &mut dyn RngCore) -> Vec<Adjustment> {
        let mut drawn = Vec::with_capacity(4);
        drawn.extend(between(self.brightness, 1.0, rng).map(Adjustment::Brightness));
        drawn.extend(between(self.contrast, 1.0, rng).map(Adjustment::Contrast));
        drawn.extend(between(self.saturation, 1.0, rng).map(Adjustment::Saturation));
        drawn.extend(between(self.hue, 0.0, rng).map(Adjustment::Hue));
        drawn.shuffle(rng);
        drawn
    }

    /// Draws, and changes.
    ///
    /// # Errors
    /// [`Error::Unsuited`] unless the image has 8-bit samples of 1 or 3 channels.
    pub fn apply(&self, image: &Image, rng: &mut dyn RngCore) -> Result<Image> {
        bytes(image, "ColorJitter")?;
        self.draw(rng).iter().try_fold(image.clone(), |image, change| change.apply(&image))
    }
}

/// A number of the range, or `None` where it can only be the one that changes nothing.
fn between((low, high): (f64, f64), idle: f64, rng: &mut dyn RngCore) -> Option<f64> {
    // Not by a range's sampler: the width may not be finite.
    let share: f64 = rng.random();
    ((low, high) != (idle, idle)).then_some(low * (1.0 - share) + high * share)
}
