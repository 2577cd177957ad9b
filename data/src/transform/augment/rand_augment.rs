//! RandAugment (arXiv 1909.13719) as timm has it.

use std::str::FromStr;

use rand::{Rng, RngCore};

use super::affine::Interpolation;
use super::level::{FULL, Scale};
use super::policy::{Drawn, MagnitudeNoise, Rules, Step, mean_levels, sections};
use crate::error::{Error, Result};
use crate::image::Image;
use crate::transform::Normalize;

use Scale::*;

const STEADY: [Scale; 15] = [
    AutoContrast,
    Equalize,
    Invert,
    Rotate,
    Posterize,
    Solarize,
    SolarizeAdd,
    Color,
    Contrast,
    Brightness,
    Sharpness,
    ShearX,
    ShearY,
    TranslateXRel,
    TranslateYRel,
];

const INCREASING: [Scale; 15] = [
    AutoContrast,
    Equalize,
    Invert,
    Rotate,
    PosterizeIncreasing,
    SolarizeIncreasing,
    SolarizeAdd,
    ColorIncreasing,
    ContrastIncreasing,
    BrightnessIncreasing,
    SharpnessIncreasing,
    ShearX,
    ShearY,
    TranslateXRel,
    TranslateYRel,
];

/// timm's `tweights`.
const WEIGHTED: [(Scale, f64); 15] = [
    (Rotate, 3.0),
    (ShearX, 2.0),
    (ShearY, 2.0),
    (TranslateXRel, 1.0),
    (TranslateYRel, 1.0),
    (ColorIncreasing, 0.25),
    (SharpnessIncreasing, 0.25),
    (AutoContrast, 0.25),
    (SolarizeIncreasing, 0.05),
    (SolarizeAdd, 0.05),
    (ContrastIncreasing, 0.05),
    (BrightnessIncreasing, 0.05),
    (Equalize, 0.05),
    (PosterizeIncreasing, 0.05),
    (Invert, 0.05),
];

/// A few operations drawn for every image, all of about the same magnitude.
///
/// Made from timm's configuration, such as `rand-m9-mstd0.5-inc1`:
///
/// | part | meaning | if left out |
/// |---|---|---|
/// | `m9` | the magnitude, a whole number | 10 |
/// | `n2` | operations drawn an image | 2 |
/// | `p0.5` | probability that one drawn is carried out | 0.5 |
/// | `mstd0.5` | standard deviation of the magnitude; above 100: uniform from 0 to the magnitude | 0 |
/// | `mmax10` | the largest magnitude after that | 10 |
/// | `inc1` | operations that change the image more, the larger the magnitude | 0 |
/// | `tweights` | unequal weights, and no operation twice | equal weights |
#[derive(Clone, Debug, PartialEq)]
pub struct RandAugment {
    scales: Vec<(Scale, f64)>,
    /// No scale is drawn twice for an image.
    once: bool,
    layers: usize,
    probability: f64,
    magnitude: f64,
    rules: Rules,
}

impl FromStr for RandAugment {
    type Err = Error;

    /// # Errors
    /// [`Error::Setting`] if the text is not of that form, or a value not possible.
    fn from_str(config: &str) -> Result<Self> {
        let (head, sections) = sections("RandAugment", config)?;
        if head != "rand" {
            return Err(refused(config, "'rand' and parts after it, as in rand-m9-mstd0.5-inc1"));
        }
        let mut augment = Self::plain();
        let mut increasing = false;
        for (key, value) in sections {
            augment.set(config, key, value, &mut increasing)?;
        }
        if increasing && !augment.once {
            augment.scales = INCREASING.map(|scale| (scale, 1.0)).to_vec();
        }
        if augment.once && augment.layers > augment.scales.len() {
            let expected = format!("at most n{} with tweights", augment.scales.len());
            return Err(refused(config, &expected));
        }
        Ok(augment)
    }
}

impl RandAugment {
    fn plain() -> Self {
        Self {
            scales: STEADY.map(|scale| (scale, 1.0)).to_vec(),
            once: false,
            layers: 2,
            probability: 0.5,
            magnitude: FULL,
            rules: Rules::new(MagnitudeNoise::None),
        }
    }

    fn set(&mut self, config: &str, key: &str, value: &str, increasing: &mut bool) -> Result<()> {
        let whole =
            || value.parse::<u16>().map_err(|_| not_a_number(config, key, "a whole number"));
        let real = || match value.parse::<f64>() {
            Ok(v) if v >= 0.0 => Ok(v),
            _ => Err(not_a_number(config, key, "a number of 0 or more")),
        };
        match key {
            "m" => self.magnitude = f64::from(whole()?),
            "n" => self.layers = usize::from(whole()?),
            "inc" => *increasing = whole()? != 0,
            "mstd" => self.rules.noise = MagnitudeNoise::from_std(real()?),
            "mmax" => match whole()? {
                0 => return Err(not_a_number(config, key, "at least 1")),
                most => self.rules.most = f64::from(most),
            },
            "p" => match real()? {
                p if p <= 1.0 => self.probability = p,
                _ => return Err(not_a_number(config, key, "a probability of at most 1")),
            },
            "t" if value == "weights" => {
                (self.scales, self.once) = (WEIGHTED.to_vec(), true);
            }
            _ => return Err(refused(config, &format!("no '{key}{value}': {KEYS}"))),
        }
        Ok(())
    }

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

    /// What is drawn from, with its weight.
    pub fn scales(&self) -> &[(Scale, f64)] {
        &self.scales
    }

    /// The operations for one image, in order.
    pub fn draw(&self, rng: &mut dyn RngCore) -> Vec<Drawn> {
        self.draw_scales(rng)
            .into_iter()
            .filter_map(|scale| {
                let step = Step { scale, probability: self.probability, magnitude: self.magnitude };
                self.rules.draw(step, rng)
            })
            .collect()
    }

    fn draw_scales(&self, rng: &mut dyn RngCore) -> Vec<Scale> {
        let mut left = self.scales.clone();
        let mut drawn = Vec::with_capacity(self.layers);
        for _ in 0..self.layers {
            let total: f64 = left.iter().map(|(_, weight)| weight).sum();
            let mut at = rng.random::<f64>() * total;
            let hit = left.iter().position(|(_, weight)| {
                at -= weight;
                at < 0.0
            });
            // Rounding may leave a little at the end.
            let Some(hit) = hit.or(left.len().checked_sub(1)) else { break };
            drawn.push(if self.once { left.remove(hit).0 } else { left[hit].0 });
        }
        drawn
    }

    /// Draws, and carries out.
    ///
    /// # Errors
    /// [`Error::Unsuited`] unless the image has 8-bit samples of 1 or 3 channels, [`Error::Setting`] if the fill is of
    /// another number of channels.
    pub fn apply(&self, image: &Image, rng: &mut dyn RngCore) -> Result<Image> {
        self.rules.apply(image, &self.draw(rng), "RandAugment")
    }
}

const KEYS: &str = "the parts are m, n, p, mstd, mmax and inc with a number, and tweights";

fn not_a_number(config: &str, key: &str, expected: &str) -> Error {
    refused(config, &format!("{expected} after '{key}'"))
}

fn refused(config: &str, expected: &str) -> Error {
    Error::Setting {
        name: "RandAugment",
        found: config.into(),
        expected: format!("expected {expected}"),
    }
}
