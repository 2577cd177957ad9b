use candle_core::Tensor;
use longmae_ops::{Init, Params, layer_norm};

use crate::Result;

/// Layer normalisation with `weight` and `bias` `[dim]`, trainable.
#[derive(Debug, Clone)]
pub struct Norm {
    weight: Tensor,
    bias: Tensor,
    eps: f64,
}

impl Norm {
    /// Defines the two parameters.
    ///
    /// # Errors
    /// When a parameter's name is taken.
    pub fn new(dim: usize, eps: f64, params: &Params) -> Result<Self> {
        Ok(Self {
            weight: params.weight("weight", dim, Init::Ones)?,
            bias: params.weight("bias", dim, Init::Zeros)?,
            eps,
        })
    }

    /// Normalises the last dimension of `x` `[.., dim]`.
    ///
    /// # Errors
    /// When the shapes do not fit.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        Ok(layer_norm(x, &self.weight, &self.bias, self.eps)?)
    }
}
