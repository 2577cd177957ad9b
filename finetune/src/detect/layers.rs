//! Layers on maps `[batch, height, width, channels]`, with detectron2's parameter names and shapes.

use candle_core::Tensor;
use longmae_ops::{Compute, Init, Params, conv3x3, linear};
use longmae_vit::Norm;

use crate::Result;

/// Added to the variance in the norms of maps.
const EPS: f64 = 1e-6;

/// How a convolution starts.
#[derive(Debug, Clone, Copy)]
pub(super) enum Start {
    /// Uniform within `1 / sqrt(inputs)`, PyTorch's own.
    Default,
    /// Normal of variance `2 / outputs`, for ReLU (arXiv 1502.01852, `c2_msra_fill`).
    Msra,
    /// Normal of this deviation.
    Normal(f64),
}

impl Start {
    /// Of a weight with so many inputs to an output, and outputs to an input.
    pub fn init(self, fan_in: usize, fan_out: usize) -> Init {
        match self {
            Self::Default => Init::Uniform { bound: 1.0 / (fan_in as f64).sqrt() },
            Self::Msra => Init::Normal { std: (2.0 / fan_out as f64).sqrt() },
            Self::Normal(std) => Init::Normal { std },
        }
    }
}

/// What follows a convolution's product.
#[derive(Debug, Clone)]
enum After {
    Bias(Tensor),
    Norm(Norm),
}

/// A convolution of stride 1 that keeps the map's size, with a bias or a norm over channels (`norm`) instead.
#[derive(Debug, Clone)]
pub(super) struct Conv {
    weight: Tensor,
    after: After,
    compute: Compute,
}

impl Conv {
    /// Defines `weight` `[outputs, inputs, side, side]` and `bias`.
    pub fn with_bias(
        (inputs, outputs): (usize, usize),
        side: Side,
        start: Start,
        params: &Params,
    ) -> Result<Self> {
        let weight = weight((inputs, outputs), side, start, params)?;
        let after = After::Bias(params.weight("bias", outputs, Init::Zeros)?);
        Ok(Self { weight, after, compute: params.compute() })
    }

    /// Defines `weight` and the norm.
    pub fn with_norm(
        (inputs, outputs): (usize, usize),
        side: Side,
        start: Start,
        params: &Params,
    ) -> Result<Self> {
        let weight = weight((inputs, outputs), side, start, params)?;
        let after = After::Norm(Norm::new(outputs, EPS, &params.pp("norm"))?);
        Ok(Self { weight, after, compute: params.compute() })
    }

    /// Maps `[batch, height, width, inputs]` to `[batch, height, width, outputs]`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let bias = match &self.after {
            After::Bias(bias) => Some(bias),
            After::Norm(_) => None,
        };
        let x = match self.weight.dim(3)? {
            1 => linear(x, &self.weight.flatten_from(1)?, bias, self.compute)?,
            _ => conv3x3(x, &self.weight, bias, self.compute)?,
        };
        match &self.after {
            After::Bias(_) => Ok(x),
            After::Norm(norm) => Ok(norm.forward(&x)?),
        }
    }
}

/// Side of a kernel.
#[derive(Debug, Clone, Copy)]
pub(super) enum Side {
    One,
    Three,
}

fn weight(
    (inputs, outputs): (usize, usize),
    side: Side,
    start: Start,
    params: &Params,
) -> Result<Tensor> {
    let side = match side {
        Side::One => 1,
        Side::Three => 3,
    };
    let init = start.init(inputs * side * side, outputs * side * side);
    Ok(params.weight("weight", (outputs, inputs, side, side), init)?)
}

/// A transposed convolution of a 2 x 2 kernel and stride 2: each pixel becomes four.
#[derive(Debug, Clone)]
pub(super) struct UpConv {
    weight: Tensor,
    bias: Tensor,
    compute: Compute,
}

impl UpConv {
    /// Defines `weight` `[inputs, outputs, 2, 2]` and `bias`.
    pub fn new((inputs, outputs): (usize, usize), start: Start, params: &Params) -> Result<Self> {
        let init = start.init(outputs * 4, inputs * 4);
        Ok(Self {
            weight: params.weight("weight", (inputs, outputs, 2, 2), init)?,
            bias: params.weight("bias", outputs, Init::Zeros)?,
            compute: params.compute(),
        })
    }

    /// Maps `[batch, height, width, inputs]` to `[batch, 2 * height, 2 * width, outputs]`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (batch, height, width, inputs) = x.dims4()?;
        let outputs = self.bias.elem_count();
        // Each pixel's four, row by row, as one vector.
        let weight = self.weight.permute((2, 3, 1, 0))?.contiguous()?;
        let weight = weight.reshape((4 * outputs, inputs))?;
        let bias = Tensor::cat(&[&self.bias; 4], 0)?;
        let x = linear(x, &weight, Some(&bias), self.compute)?;
        let x = x.reshape((batch * height, width, 2, 2 * outputs))?.transpose(1, 2)?;
        Ok(x.contiguous()?.reshape((batch, 2 * height, 2 * width, outputs))?)
    }
}

/// A linear layer with detectron2's starts.
#[derive(Debug, Clone)]
pub(super) struct Fc {
    weight: Tensor,
    bias: Tensor,
    compute: Compute,
}

impl Fc {
    /// Defines `weight` `[outputs, inputs]` and `bias`.
    pub fn new((inputs, outputs): (usize, usize), init: Init, params: &Params) -> Result<Self> {
        Ok(Self {
            weight: params.weight("weight", (outputs, inputs), init)?,
            bias: params.weight("bias", outputs, Init::Zeros)?,
            compute: params.compute(),
        })
    }

    /// Maps `[n, inputs]` to `[n, outputs]`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        Ok(linear(x, &self.weight, Some(&self.bias), self.compute)?)
    }
}
