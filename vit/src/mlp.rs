use candle_core::Tensor;
use longmae_ops::{Compute, Linear, Params, gelu};

use crate::{Result, TowerConfig};

/// The two-layer perceptron of a block: `fc2(gelu(fc1(x)))`.
#[derive(Debug, Clone)]
pub struct Mlp {
    pub(crate) fc1: Linear,
    pub(crate) fc2: Linear,
    compute: Compute,
}

impl Mlp {
    /// Defines `fc1` and `fc2`.
    ///
    /// # Errors
    /// When a parameter's name is taken.
    pub fn new(config: &TowerConfig, params: &Params) -> Result<Self> {
        let (dim, hidden) = (config.dim, config.hidden());
        Ok(Self {
            fc1: Linear::new(dim, hidden, &params.pp("fc1"))?,
            fc2: Linear::new(hidden, dim, &params.pp("fc2"))?,
            compute: params.compute(),
        })
    }

    /// Maps tokens `[batch, tokens, dim]` to the same shape.
    ///
    /// # Errors
    /// When the shapes do not fit.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        Ok(self.fc2.forward(&gelu(&self.fc1.forward(x)?, self.compute)?)?)
    }
}
