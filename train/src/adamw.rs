use std::collections::{BTreeMap, BTreeSet};

use candle_core::{Tensor, Var};

use crate::tensors::set_all;
use crate::{Error, Gradients, NamedParam, Result};

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
        let mut names = BTreeSet::new();
        let mut moments = Vec::with_capacity(params.len());
        for param in &params {
            if !names.insert(&param.name) {
                return Err(Error::DuplicateParameter(param.name.clone()));
            }
            let zeros = param.var.as_detached_tensor().zeros_like()?;
            moments.push(Moments {
                first: Var::from_tensor(&zeros)?,
                second: Var::from_tensor(&zeros)?,
            });
        }
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

    /// One update at learning rate `lr`. Parameters without a gradient are left alone.
    ///
    /// # Errors
    /// When a tensor operation fails.
    pub fn step(&mut self, gradients: &Gradients, lr: f64) -> Result<()> {
        self.step += 1;
        let AdamWConfig { beta1, beta2, .. } = self.config;
        let steps = self.step as i32;
        let corrections = (1.0 - beta1.powi(steps), 1.0 - beta2.powi(steps));
        let all = self.params.iter().zip(&self.moments).zip(gradients.as_slice());
        for ((param, moments), gradient) in all {
            if let Some(gradient) = gradient {
                self.update(param, moments, gradient, lr * param.lr_scale, corrections)?;
            }
        }
        Ok(())
    }

    fn update(
        &self,
        param: &NamedParam,
        moments: &Moments,
        gradient: &Tensor,
        lr: f64,
        (correction1, correction2): (f64, f64),
    ) -> Result<()> {
        let AdamWConfig { beta1, beta2, eps, weight_decay } = self.config;
        let old_first = moments.first.as_detached_tensor();
        let old_second = moments.second.as_detached_tensor();
        let first = ((old_first * beta1)? + (gradient * (1.0 - beta1))?)?;
        let second = ((old_second * beta2)? + (gradient.sqr()? * (1.0 - beta2))?)?;
        let scale = ((second.sqrt()? / correction2.sqrt())? + eps)?;
        let change = ((&first / scale)? * (lr / correction1))?;
        let keep = if param.decay { 1.0 - lr * weight_decay } else { 1.0 };
        param.var.set(&((param.var.as_detached_tensor() * keep)? - change)?)?;
        moments.first.set(&first)?;
        moments.second.set(&second)?;
        Ok(())
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
