use candle_core::Tensor;
use longmae_ops::{Affine, Compute, Init, Params, linear};

use super::{BatchNorm, Mode};
use crate::Result;

/// A linear classifier on the features of a frozen encoder, which are normalised first (arXiv 2111.06377, A.1).
///
/// Its parameters have the names of MAE's linear probe: `head.0.running_mean`, `head.0.running_var` and
/// `head.0.num_batches_tracked`, which are not trained, `head.1.weight` and `head.1.bias`.
#[derive(Debug, Clone)]
pub struct LinearProbe {
    norm: BatchNorm,
    affine: Affine,
    compute: Compute,
}

impl LinearProbe {
    /// Defines the parameters. The weight starts N(0, 0.01): the published `trunc_normal_(std=0.01)` cuts off at 2, two
    /// hundred deviations away, which is nothing. The bias starts at zero.
    ///
    /// # Errors
    /// When a parameter's name is taken.
    pub fn new(dim: usize, classes: usize, params: &Params) -> Result<Self> {
        let head = params.pp("head");
        let norm = BatchNorm::new(dim, &head.pp(0))?;
        let layer = head.pp(1);
        let weight = layer.weight("weight", (classes, dim), Init::Normal { std: 0.01 })?;
        let bias = layer.weight("bias", classes, Init::Zeros)?;
        Ok(Self { norm, affine: Affine { weight, bias }, compute: params.compute() })
    }

    /// The normalisation.
    pub fn norm(&self) -> &BatchNorm {
        &self.norm
    }

    /// Weight `[classes, dim]` and bias `[classes]` of the layer.
    pub fn affine(&self) -> &Affine {
        &self.affine
    }

    /// The scores `[batch, classes]` of features `[batch, dim]`.
    ///
    /// # Errors
    /// As [`BatchNorm::forward`].
    pub fn forward(&self, features: &Tensor, mode: Mode) -> Result<Tensor> {
        let x = self.norm.forward(features, mode)?;
        Ok(linear(&x, &self.affine.weight, Some(&self.affine.bias), self.compute)?)
    }
}
