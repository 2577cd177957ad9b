use std::collections::BTreeMap;

use candle_core::{Tensor, Var};
use longmae_ops::{LarsStep, LarsTensor, lars};

use crate::optimizer::zeros_like;
use crate::tensors::set_all;
use crate::{Gradients, NamedParam, Result};

/// LARS' constants. The defaults are MAE's for linear probes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LarsConfig {
    /// What is kept of the momentum.
    pub momentum: f64,
    /// Length of a step as a share of the parameter's own, before the learning rate.
    pub trust_coefficient: f64,
    /// Weight decay, on parameters of two or more dimensions that take it.
    pub weight_decay: f64,
}

impl Default for LarsConfig {
    fn default() -> Self {
        Self { momentum: 0.9, trust_coefficient: 0.001, weight_decay: 0.0 }
    }
}

/// LARS (arXiv 1708.03888) as MAE's `util/lars.py` computes it: parameters of one dimension go by plain momentum.
#[derive(Debug)]
pub struct Lars {
    config: LarsConfig,
    params: Vec<NamedParam>,
    momenta: Vec<Var>,
    step: u64,
}

impl Lars {
    /// An optimiser of `params` without momentum yet.
    ///
    /// # Errors
    /// When a name is listed twice.
    pub fn new(params: Vec<NamedParam>, config: LarsConfig) -> Result<Self> {
        let momenta = zeros_like(&params)?;
        Ok(Self { config, params, momenta, step: 0 })
    }

    /// The parameters it optimises.
    pub fn parameters(&self) -> &[NamedParam] {
        &self.params
    }

    /// Updates done.
    pub fn step_count(&self) -> u64 {
        self.step
    }

    /// Goes on as after so many updates, with momentum that was set elsewhere.
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
        let LarsConfig { momentum, trust_coefficient, weight_decay } = self.config;
        let step = LarsStep { momentum, trust_coefficient, gradient_scale: factor };
        let all = self.params.iter().zip(&self.momenta).zip(gradients.as_slice());
        let tensors: Vec<LarsTensor<'_>> = all
            .filter_map(|((param, momentum), gradient)| {
                Some(LarsTensor {
                    value: &param.var,
                    momentum,
                    gradient: gradient.as_ref()?,
                    lr: lr * param.lr_scale,
                    weight_decay: if param.decay { weight_decay } else { 0.0 },
                })
            })
            .collect();
        Ok(lars(&tensors, &step)?)
    }

    /// The momentum by name: `mu.NAME` for each parameter.
    pub fn state(&self) -> Vec<(String, Var)> {
        let named = self.params.iter().zip(&self.momenta);
        named.map(|(param, momentum)| (format!("mu.{}", param.name), momentum.clone())).collect()
    }

    /// Restores momentum that [`Lars::state`] gave, and the number of updates done.
    ///
    /// # Errors
    /// When names or shapes differ; nothing is restored then.
    pub fn restore(&mut self, state: &BTreeMap<String, Tensor>, step: u64) -> Result<()> {
        set_all("optimiser state", &self.state(), state)?;
        self.step = step;
        Ok(())
    }
}
