//! What is drawn for a batch.

use rand::{Rng, RngCore};
use rand_distr::Beta;

use super::{BatchShape, Mix};
use crate::error::{Error, Result};
use crate::transform::CropBox;

/// For how many images a draw holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum MixMode {
    /// All of the batch.
    #[default]
    Batch,
    /// An image and its partner.
    Pair,
    /// One image.
    Elem,
}

/// Settings of [`Mixup`]; the defaults are timm's.
#[derive(Clone, Debug, PartialEq)]
pub struct MixupConfig {
    /// Mixup's lambda is distributed as Beta(alpha, alpha); no Mixup if 0.
    pub mixup_alpha: f64,
    /// CutMix's lambda is distributed as Beta(alpha, alpha); no CutMix if 0.
    pub cutmix_alpha: f64,
    /// CutMix by boxes whose sides are shares of the image's between these, instead of by lambda.
    pub cutmix_minmax: Option<(f64, f64)>,
    /// Probability that anything is mixed.
    pub probability: f64,
    /// Probability of CutMix, where both are on.
    pub switch_probability: f64,
    /// For how many images a draw holds.
    pub mode: MixMode,
    /// Lambda becomes the share of the pixels left, where CutMix's box is cut off by the image's edge.
    pub correct_lambda: bool,
}

impl Default for MixupConfig {
    fn default() -> Self {
        Self {
            mixup_alpha: 1.0,
            cutmix_alpha: 0.0,
            cutmix_minmax: None,
            probability: 1.0,
            switch_probability: 0.5,
            mode: MixMode::Batch,
            correct_lambda: true,
        }
    }
}

/// Draws how the images of a batch are mixed.
#[derive(Clone, Debug)]
pub struct Mixup {
    config: MixupConfig,
    mixup: Option<Beta<f64>>,
    cutmix: Option<Beta<f64>>,
}

impl Mixup {
    /// Checks the settings.
    ///
    /// # Errors
    /// [`Error::Setting`] if an alpha is negative or not finite, neither method is on, a probability is not between 0
    /// and 1, or shares of sides are not above 0, at most 1 and in order.
    pub fn new(config: MixupConfig) -> Result<Self> {
        for (name, value) in [
            ("mixup probability", config.probability),
            ("mixup switch probability", config.switch_probability),
        ] {
            if !(0.0..=1.0).contains(&value) {
                return Err(refused(name, value, "a probability between 0 and 1"));
            }
        }
        if let Some((low, high)) = config.cutmix_minmax
            && !(0.0 < low && low < high && high <= 1.0)
        {
            let found = format!("{low} to {high}");
            return Err(refused(
                "cutmix minmax",
                found,
                "two shares above 0, the smaller one first",
            ));
        }
        let mixup = beta("mixup alpha", config.mixup_alpha)?;
        let minmax = config.cutmix_minmax.is_some();
        let cutmix = beta("cutmix alpha", if minmax { 1.0 } else { config.cutmix_alpha })?;
        if mixup.is_none() && cutmix.is_none() {
            return Err(refused("mixup and cutmix alpha", "0 and 0", "one of them above 0"));
        }
        Ok(Self { config, mixup, cutmix })
    }

    /// One [`Mix`] an image.
    ///
    /// # Errors
    /// [`Error::Setting`] if the number of images is odd, a side is 0, or no box has sides between the shares set.
    pub fn draw(&self, shape: BatchShape, rng: &mut dyn RngCore) -> Result<Vec<Mix>> {
        shape.check()?;
        let samples = shape.samples;
        let mut mixes = match self.config.mode {
            MixMode::Batch => return Ok(vec![self.one(shape, rng)?; samples]),
            MixMode::Pair => {
                (0..samples / 2).map(|_| self.one(shape, rng)).collect::<Result<Vec<_>>>()?
            }
            MixMode::Elem => {
                (0..samples).map(|_| self.one(shape, rng)).collect::<Result<Vec<_>>>()?
            }
        };
        if self.config.mode == MixMode::Pair {
            mixes.extend_from_within(..);
            mixes[samples / 2..].reverse();
        }
        Ok(mixes)
    }

    fn one(&self, shape: BatchShape, rng: &mut dyn RngCore) -> Result<Mix> {
        let cuts = match (&self.mixup, &self.cutmix) {
            (Some(_), Some(_)) => rng.random_bool(self.config.switch_probability),
            (mixup, _) => mixup.is_none(),
        };
        let (Some(beta), true) =
            (if cuts { self.cutmix } else { self.mixup }, rng.random_bool(self.config.probability))
        else {
            return Ok(Mix::NONE);
        };
        let lambda = rng.sample(beta);
        if !cuts || lambda == 1.0 {
            return Ok(Mix { lambda, cut: None });
        }
        let mix = Mix { lambda, cut: Some(self.cut(shape, lambda, rng)?) };
        let corrects = self.config.correct_lambda || self.config.cutmix_minmax.is_some();
        Ok(if corrects { mix.corrected(shape.height, shape.width) } else { mix })
    }

    fn cut(&self, shape: BatchShape, lambda: f64, rng: &mut dyn RngCore) -> Result<CropBox> {
        let BatchShape { height, width, .. } = shape;
        let Some(shares) = self.config.cutmix_minmax else {
            let (row, column) = (rng.random_range(0..height), rng.random_range(0..width));
            return Ok(cut_box(height, width, lambda, row, column));
        };
        let mut stretch = |side: usize| -> Result<(usize, usize)> {
            let (least, end) =
                ((side as f64 * shares.0) as usize, (side as f64 * shares.1) as usize);
            if least >= end {
                let found = format!("{} to {}", shares.0, shares.1);
                let expected = format!("shares that are further apart for a side of {side} pixels");
                return Err(refused("cutmix minmax", found, expected));
            }
            let len = rng.random_range(least..end);
            Ok((rng.random_range(0..=side - len), len))
        };
        let ((top, height), (left, width)) = (stretch(height)?, stretch(width)?);
        Ok(CropBox { top, left, height, width })
    }
}

/// CutMix's box: `1 - lambda` of the area, of the image's shape, around a pixel; cut off at the image's edges. It may be
/// empty.
pub fn cut_box(height: usize, width: usize, lambda: f64, row: usize, column: usize) -> CropBox {
    let ratio = (1.0 - lambda).max(0.0).sqrt();
    let stretch = |side: usize, middle: usize| {
        let len = (side as f64 * ratio) as usize;
        let start = middle.saturating_sub(len / 2).min(side);
        (start, middle.saturating_add(len.div_ceil(2)).min(side) - start)
    };
    let ((top, height), (left, width)) = (stretch(height, row), stretch(width, column));
    CropBox { top, left, height, width }
}

fn beta(name: &'static str, alpha: f64) -> Result<Option<Beta<f64>>> {
    if alpha == 0.0 {
        return Ok(None);
    }
    match Beta::new(alpha, alpha) {
        Ok(beta) if alpha.is_finite() => Ok(Some(beta)),
        _ => Err(refused(name, alpha, "0, or a number above 0")),
    }
}

fn refused(name: &'static str, found: impl ToString, expected: impl Into<String>) -> Error {
    Error::Setting { name, found: found.to_string(), expected: expected.into() }
}
