//! AutoAugment (arXiv 1805.09501) as timm has it.

use std::str::FromStr;

use rand::{Rng, RngCore};

use super::affine::Interpolation;
use super::level::Scale;
use super::policy::{Drawn, MagnitudeNoise, Rules, Step, mean_levels, sections};
use crate::error::{Error, Result};
use crate::image::Image;
use crate::transform::Normalize;

use Scale::*;

/// Scale, probability and magnitude of two steps.
type Pair = [(Scale, f64, f64); 2];

/// The ImageNet policy of the paper.
const ORIGINAL: [Pair; 25] = [
    [(PosterizeOriginal, 0.4, 8.0), (Rotate, 0.6, 9.0)],
    [(Solarize, 0.6, 5.0), (AutoContrast, 0.6, 5.0)],
    [(Equalize, 0.8, 8.0), (Equalize, 0.6, 3.0)],
    [(PosterizeOriginal, 0.6, 7.0), (PosterizeOriginal, 0.6, 6.0)],
    [(Equalize, 0.4, 7.0), (Solarize, 0.2, 4.0)],
    [(Equalize, 0.4, 4.0), (Rotate, 0.8, 8.0)],
    [(Solarize, 0.6, 3.0), (Equalize, 0.6, 7.0)],
    [(PosterizeOriginal, 0.8, 5.0), (Equalize, 1.0, 2.0)],
    [(Rotate, 0.2, 3.0), (Solarize, 0.6, 8.0)],
    [(Equalize, 0.6, 8.0), (PosterizeOriginal, 0.4, 6.0)],
    [(Rotate, 0.8, 8.0), (Color, 0.4, 0.0)],
    [(Rotate, 0.4, 9.0), (Equalize, 0.6, 2.0)],
    [(Equalize, 0.0, 7.0), (Equalize, 0.8, 8.0)],
    [(Invert, 0.6, 4.0), (Equalize, 1.0, 8.0)],
    [(Color, 0.6, 4.0), (Contrast, 1.0, 8.0)],
    [(Rotate, 0.8, 8.0), (Color, 1.0, 2.0)],
    [(Color, 0.8, 8.0), (Solarize, 0.8, 7.0)],
    [(Sharpness, 0.4, 7.0), (Invert, 0.6, 8.0)],
    [(ShearX, 0.6, 5.0), (Equalize, 1.0, 9.0)],
    [(Color, 0.4, 0.0), (Equalize, 0.6, 3.0)],
    [(Equalize, 0.4, 7.0), (Solarize, 0.2, 4.0)],
    [(Solarize, 0.6, 5.0), (AutoContrast, 0.6, 5.0)],
    [(Invert, 0.6, 4.0), (Equalize, 1.0, 8.0)],
    [(Color, 0.6, 4.0), (Contrast, 1.0, 8.0)],
    [(Equalize, 0.8, 8.0), (Equalize, 0.6, 3.0)],
];

/// The ImageNet policy of EfficientNet's TPU code.
const V0: [Pair; 25] = [
    [(Equalize, 0.8, 1.0), (ShearY, 0.8, 4.0)],
    [(Color, 0.4, 9.0), (Equalize, 0.6, 3.0)],
    [(Color, 0.4, 1.0), (Rotate, 0.6, 8.0)],
    [(Solarize, 0.8, 3.0), (Equalize, 0.4, 7.0)],
    [(Solarize, 0.4, 2.0), (Solarize, 0.6, 2.0)],
    [(Color, 0.2, 0.0), (Equalize, 0.8, 8.0)],
    [(Equalize, 0.4, 8.0), (SolarizeAdd, 0.8, 3.0)],
    [(ShearX, 0.2, 9.0), (Rotate, 0.6, 8.0)],
    [(Color, 0.6, 1.0), (Equalize, 1.0, 2.0)],
    [(Invert, 0.4, 9.0), (Rotate, 0.6, 0.0)],
    [(Equalize, 1.0, 9.0), (ShearY, 0.6, 3.0)],
    [(Color, 0.4, 7.0), (Equalize, 0.6, 0.0)],
    [(Posterize, 0.4, 6.0), (AutoContrast, 0.4, 7.0)],
    [(Solarize, 0.6, 8.0), (Color, 0.6, 9.0)],
    [(Solarize, 0.2, 4.0), (Rotate, 0.8, 9.0)],
    [(Rotate, 1.0, 7.0), (TranslateYRel, 0.8, 9.0)],
    [(ShearX, 0.0, 0.0), (Solarize, 0.8, 4.0)],
    [(ShearY, 0.8, 0.0), (Color, 0.6, 4.0)],
    [(Color, 1.0, 0.0), (Rotate, 0.6, 2.0)],
    [(Equalize, 0.8, 4.0), (Equalize, 0.0, 8.0)],
    [(Equalize, 1.0, 4.0), (AutoContrast, 0.6, 2.0)],
    [(ShearY, 0.4, 7.0), (SolarizeAdd, 0.6, 7.0)],
    [(Posterize, 0.8, 2.0), (Solarize, 0.6, 10.0)],
    [(Solarize, 0.6, 8.0), (Equalize, 0.6, 1.0)],
    [(Color, 0.8, 6.0), (Rotate, 0.4, 5.0)],
];

/// One of 25 learnt pairs of operations for every image.
///
/// Made from timm's configuration: `original` (the paper's) or `v0` (EfficientNet's), each with an `r` after it for
/// posterisation that grows with the magnitude; `-mstd0.5` behind it lets magnitudes stray by that standard deviation.
#[derive(Clone, Debug, PartialEq)]
pub struct AutoAugment {
    policy: Vec<[Step; 2]>,
    rules: Rules,
}

impl FromStr for AutoAugment {
    type Err = Error;

    /// # Errors
    /// [`Error::Setting`] if the text is not of that form.
    fn from_str(config: &str) -> Result<Self> {
        let refused = || {
            Error::Setting {
            name: "AutoAugment",
            found: config.into(),
            expected: "expected original, originalr, v0 or v0r, and perhaps a part such as -mstd0.5 after it".into(),
        }
        };
        let (head, sections) = sections("AutoAugment", config)?;
        let (pairs, increasing) = match head {
            "original" => (ORIGINAL, false),
            "originalr" => (ORIGINAL, true),
            "v0" => (V0, false),
            "v0r" => (V0, true),
            _ => return Err(refused()),
        };
        let mut noise = MagnitudeNoise::None;
        for (key, value) in sections {
            match value.parse::<f64>() {
                Ok(std) if key == "mstd" && std.is_finite() => noise = MagnitudeNoise::Normal(std),
                Ok(std) if key == "mstd" => noise = MagnitudeNoise::from_std(std),
                _ => return Err(refused()),
            }
        }
        Ok(Self { policy: policy(&pairs, increasing), rules: Rules::new(noise) })
    }
}

fn policy(pairs: &[Pair], increasing: bool) -> Vec<[Step; 2]> {
    let step = |(scale, probability, magnitude)| {
        let scale = match scale {
            Posterize | PosterizeOriginal if increasing => PosterizeIncreasing,
            other => other,
        };
        Step { scale, probability, magnitude }
    };
    pairs.iter().map(|pair| pair.map(step)).collect()
}

impl AutoAugment {
    /// Takes this interpolation always; `None`, the default, tosses a coin between bilinear and bicubic.
    pub fn with_interpolation(mut self, interpolation: Option<Interpolation>) -> Self {
        self.rules.interpolation = interpolation;
        self
    }

    /// Fills with the mean that `normalize` subtracts, as timm's training does; the default is middle grey.
    pub fn with_fill(mut self, normalize: &Normalize) -> Self {
        self.rules.fill = mean_levels(normalize);
        self
    }

    /// What is drawn from: scale, probability and magnitude of the two steps of each pair.
    pub fn pairs(&self) -> impl Iterator<Item = [(Scale, f64, f64); 2]> {
        self.policy.iter().map(|pair| pair.map(|s| (s.scale, s.probability, s.magnitude)))
    }

    /// The operations for one image, in order: none, one or two.
    pub fn draw(&self, rng: &mut dyn RngCore) -> Vec<Drawn> {
        let pair = self.policy.get(rng.random_range(0..self.policy.len().max(1)));
        pair.into_iter().flatten().filter_map(|step| self.rules.draw(*step, rng)).collect()
    }

    /// Draws, and carries out.
    ///
    /// # Errors
    /// [`Error::Unsuited`] unless the image has 8-bit samples of 1 or 3 channels, [`Error::Setting`] if the fill is of
    /// another number of channels.
    pub fn apply(&self, image: &Image, rng: &mut dyn RngCore) -> Result<Image> {
        self.rules.apply(image, &self.draw(rng), "AutoAugment")
    }
}
