use std::collections::BTreeMap;

use candle_core::{Tensor, Var};
use longmae_ops::{AdamWStep, AdamWTensor, adamw};

use crate::optimizer::zeros_like;
use crate::tensors::set_all;
use crate::{Gradients, NamedParam, Result};

/// AdamW's constants. The defaults are MAE's for pre-training.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamWConfig {
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Weight decay, on parameters that take it.
    pub weight_decay: f64,
}

impl Default for AdamWConfig {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.05 }
    }
}

/// AdamW (arXiv 1711.05101) as PyTorch computes it, with a learning-rate scale and decay for each parameter
/// and moments that can be saved and restored by name.
#[derive(Debug)]
pub struct AdamW {
    config: AdamWConfig,
    params: Vec<NamedParam>,
    moments: Vec<Moments>,
    step: u64,
}

#[derive(Debug)]
struct Moments {
    first: Var,
    second: Var,
}

impl AdamW {
    /// An optimiser of `params` with zero moments.
    ///
    /// # Errors
    /// When a name is listed twice.
    pub fn new(params: Vec<NamedParam>, config: AdamWConfig) -> Result<Self> {
        let moments = zeros_like(&params)?.into_iter().zip(zeros_like(&params)?);
        let moments = moments.map(|(first, second)| Moments { first, second }).collect();
        Ok(Self { config, params, moments, step: 0 })
    }

    /// The parameters it optimises.
    pub fn parameters(&self) -> &[NamedParam] {
        &self.params
    }

    /// Updates done.
    pub fn step_count(&self) -> u64 {
        self.step
    }

    /// Goes on as after so many updates, with moments that were set elsewhere.
    pub(crate) fn set_step_count(&mut self, step: u64) {
        self.step = step;
    }

    /// One update at learning rate `lr`, with every gradient times `factor` (clipping). Parameters without a gradient
    /// are left alone.
    ///
    /// # Errors
    /// When a tensor operation fails.
    pub fn step(&mut self, gradients: &Gradients, factor: f64, lr: f64) -> Result<()> {
        self.step += 1;
        let AdamWConfig { beta1, beta2, eps, weight_decay } = self.config;
        let step = AdamWStep { beta1, beta2, eps, step: self.step, gradient_scale: factor };
        let all = self.params.iter().zip(&self.moments).zip(gradients.as_slice());
        let tensors: Vec<AdamWTensor<'_>> = all
            .filter_map(|((param, moments), gradient)| {
                Some(AdamWTensor {
                    value: &param.var,
                    first: &moments.first,
                    second: &moments.second,
                    gradient: gradient.as_ref()?,
                    lr: lr * param.lr_scale,
                    weight_decay: if param.decay { weight_decay } else { 0.0 },
                })
            })
            .collect();
        Ok(adamw(&tensors, &step)?)
    }

    /// The moments by name: `exp_avg.NAME` and `exp_avg_sq.NAME` for each parameter.
    pub fn state(&self) -> Vec<(String, Var)> {
        let named = self.params.iter().zip(&self.moments);
        named
            .flat_map(|(param, moments)| {
                [
                    (format!("exp_avg.{}", param.name), moments.first.clone()),
                    (format!("exp_avg_sq.{}", param.name), moments.second.clone()),
                ]
            })
            .collect()
    }

    /// Restores moments that [`AdamW::state`] gave, and the number of updates done.
    ///
    /// # Errors
    /// When names or shapes differ; nothing is restored then.
    pub fn restore(&mut self, state: &BTreeMap<String, Tensor>, step: u64) -> Result<()> {
        set_all("optimiser state", &self.state(), state)?;
        self.step = step;
        Ok(())
    }
}
