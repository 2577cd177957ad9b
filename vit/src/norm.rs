use candle_core::Tensor;
use longmae_ops::{Affine, Compute, Init, Params, layer_norm};

use crate::Result;

/// Layer normalisation with `weight` and `bias` `[dim]`, trainable.
#[derive(Debug, Clone)]
pub struct Norm {
    affine: Affine,
    eps: f64,
    compute: Compute,
}

impl Norm {
    /// Defines the two parameters.
    ///
    /// # Errors
    /// When a parameter's name is taken.
    pub fn new(dim: usize, eps: f64, params: &Params) -> Result<Self> {
        let weight = params.weight("weight", dim, Init::Ones)?;
        let bias = params.weight("bias", dim, Init::Zeros)?;
        Ok(Self { affine: Affine { weight, bias }, eps, compute: params.compute() })
    }

    /// The parameters.
    pub fn affine(&self) -> &Affine {
        &self.affine
    }

    /// Normalises the last dimension of `x` `[.., dim]`.
    ///
    /// # Errors
    /// When the shapes do not fit.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        Ok(layer_norm(x, &self.affine.weight, &self.affine.bias, self.eps, self.compute)?)
    }
}
