use candle_core::{Result, Tensor};

use crate::{Init, Params};

/// A linear layer: `weight` `[outputs, inputs]` and `bias` `[outputs]`.
#[derive(Debug, Clone)]
pub struct Linear {
    weight: Tensor,
    bias: Tensor,
}

impl Linear {
    /// Defines the two parameters: Xavier uniform and zero, as MAE starts (arXiv 2111.06377, A.1).
    ///
    /// # Errors
    /// When a parameter's name is taken.
    pub fn new(inputs: usize, outputs: usize, params: &Params) -> crate::Result<Self> {
        let init = Init::XavierUniform { fan_in: inputs, fan_out: outputs };
        Ok(Self {
            weight: params.weight("weight", (outputs, inputs), init)?,
            bias: params.weight("bias", outputs, Init::Zeros)?,
        })
    }

    /// Maps `[.., inputs]` to `[.., outputs]`.
    ///
    /// # Errors
    /// When the shapes do not fit.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        linear(x, &self.weight, Some(&self.bias))
    }
}

/// `x W^T + b` over the last dimension.
///
/// # Shapes
/// `x` `[.., in]`, `weight` `[out, in]`, `bias` `[out]`; the result is `[.., out]`.
///
/// # Errors
/// When the shapes do not fit.
pub fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let mut shape = x.dims().to_vec();
    let inner = shape.pop().unwrap_or(1);
    let rows = shape.iter().product::<usize>();
    shape.push(weight.dim(0)?);
    // Leading dimensions are flattened: one matrix product instead of one per sample.
    let y = x.contiguous()?.reshape((rows, inner))?.matmul(&weight.t()?)?;
    let y = match bias {
        Some(bias) => y.broadcast_add(bias)?,
        None => y,
    };
    y.reshape(shape)
}
