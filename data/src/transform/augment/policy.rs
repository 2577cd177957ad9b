//! What timm's two policies have in common: steps that may be left out, magnitudes that stray, and what pixels that are
//! moved need.

use rand::{Rng, RngCore};
use rand_distr::{Distribution, Normal};

use super::affine::Interpolation;
use super::level::{FULL, Scale};
use super::{Operation, samples};
use crate::error::{Error, Result};
use crate::image::Image;
use crate::transform::Normalize;

/// How magnitudes stray from the one that was set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum MagnitudeNoise {
    /// Not at all.
    None,
    /// By this standard deviation.
    Normal(f64),
    /// Anything between 0 and the one that was set.
    Uniform,
}

impl MagnitudeNoise {
    /// timm's `mstd`: above 100 the magnitudes are uniform.
    pub(super) fn from_std(std: f64) -> Self {
        match std {
            v if v > 100.0 => Self::Uniform,
            v if v > 0.0 => Self::Normal(v),
            _ => Self::None,
        }
    }

    fn draw(self, magnitude: f64, rng: &mut dyn RngCore) -> f64 {
        match self {
            Self::None => magnitude,
            Self::Uniform => rng.random::<f64>() * magnitude,
            Self::Normal(std) => {
                Normal::new(magnitude, std).map_or(magnitude, |normal| normal.sample(rng))
            }
        }
    }
}

/// One step of a policy.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Step {
    pub scale: Scale,
    pub probability: f64,
    pub magnitude: f64,
}

/// An operation as drawn, with the interpolation it is to have.
pub type Drawn = (Operation, Interpolation);

/// How steps are carried out.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Rules {
    pub noise: MagnitudeNoise,
    /// The largest magnitude.
    pub most: f64,
    /// Bilinear or bicubic by a coin if `None`.
    pub interpolation: Option<Interpolation>,
    pub fill: Vec<u8>,
}

impl Rules {
    /// timm's: magnitudes up to 10, bilinear or bicubic, middle grey.
    pub fn new(noise: MagnitudeNoise) -> Self {
        Self { noise, most: FULL, interpolation: None, fill: vec![128] }
    }

    /// The operation, or `None` where the step is left out.
    pub fn draw(&self, step: Step, rng: &mut dyn RngCore) -> Option<Drawn> {
        if !rng.random_bool(step.probability) {
            return None;
        }
        let magnitude = self.noise.draw(step.magnitude, rng).clamp(0.0, self.most);
        let negative = step.scale.has_sign() && rng.random();
        let interpolation = self.interpolation.unwrap_or_else(|| match rng.random() {
            true => Interpolation::Bilinear,
            false => Interpolation::Bicubic,
        });
        Some((step.scale.at(magnitude, negative), interpolation))
    }

    /// One operation after the other.
    pub fn apply(&self, image: &Image, drawn: &[Drawn], policy: &'static str) -> Result<Image> {
        samples::bytes(image, policy)?;
        let [(first, interpolation), rest @ ..] = drawn else { return Ok(image.clone()) };
        let first = first.apply(image, *interpolation, &self.fill)?;
        rest.iter().try_fold(first, |image, (operation, interpolation)| {
            operation.apply(&image, *interpolation, &self.fill)
        })
    }
}

/// The levels that normalise to zero or near it, to fill with what timm fills with.
pub(super) fn mean_levels(normalize: &Normalize) -> Vec<u8> {
    normalize.mean().iter().map(|&mean| (255.0 * f64::from(mean)).round_ties_even() as u8).collect()
}

/// The sections of a configuration after its name, as keys and values: `m9` is `("m", "9")`.
///
/// # Errors
/// [`Error::Setting`] if a key comes twice.
pub(super) fn sections<'a>(
    name: &'static str,
    config: &'a str,
) -> Result<(&'a str, Vec<(&'a str, &'a str)>)> {
    let mut parts = config.split('-');
    let head = parts.next().unwrap_or_default();
    let mut sections: Vec<(&str, &str)> = Vec::new();
    for part in parts {
        let digits = part.find(|c: char| c.is_ascii_digit()).unwrap_or(part.len());
        // The set of operations is the one value that is a word.
        let (key, value) = part.split_at(if part.starts_with('t') { 1 } else { digits });
        if sections.iter().any(|(other, _)| *other == key) {
            let expected = format!("each part once, but '{key}' comes twice");
            return Err(Error::Setting { name, found: config.into(), expected });
        }
        sections.push((key, value));
    }
    Ok((head, sections))
}
