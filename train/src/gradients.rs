use candle_core::Tensor;
use candle_core::backprop::GradStore;
use longmae_ops::{add_in_place, gradient_norm};

use crate::{NamedParam, Result};

/// The gradients of one optimiser step, in the order of the parameters: the sum over its micro-batches.
#[derive(Debug, Clone)]
pub struct Gradients(Vec<Option<Tensor>>);

impl Gradients {
    /// No gradient yet, for this many parameters.
    pub fn empty(parameters: usize) -> Self {
        Self(vec![None; parameters])
    }

    /// Adds what a backward pass gave.
    ///
    /// # Errors
    /// When a tensor operation fails.
    pub fn accumulate(&mut self, parameters: &[NamedParam], mut store: GradStore) -> Result<()> {
        for (sum, param) in self.0.iter_mut().zip(parameters) {
            let Some(gradient) = store.remove(&param.var) else { continue };
            *sum = Some(match sum.take() {
                Some(sum) => {
                    add_in_place(&sum, &gradient)?;
                    sum
                }
                None => gradient,
            });
        }
        Ok(())
    }

    /// Takes other gradients instead, as many.
    pub(crate) fn replace(&mut self, gradients: Vec<Option<Tensor>>) {
        self.0 = gradients;
    }

    /// The gradient of each parameter; none where a parameter had no part in the loss.
    pub fn as_slice(&self) -> &[Option<Tensor>] {
        &self.0
    }

    /// Whether no parameter has a gradient: the loss does not depend on any.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(Option::is_none)
    }

    /// The L2 norm over all gradients together.
    ///
    /// # Errors
    /// When a tensor operation fails.
    pub fn norm(&self) -> Result<f64> {
        Ok(gradient_norm(self.0.iter().flatten())?)
    }

    /// The factor that brings a norm of `norm` to at most `max`, as `clip_grad_norm_`.
    pub fn clip_factor(norm: f64, max: f64) -> f64 {
        (max / (norm + 1e-6)).min(1.0)
    }
}
