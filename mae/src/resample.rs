//! Strided convolutions between token grids. A convolution whose stride is its kernel size is
//! space-to-depth and a linear layer; the checkpoint keeps the convolution's shape.

use candle_core::Tensor;
use longmae_ops::{Compute, Init, Params, linear};
use longmae_patching::PatchGrid;

use crate::Result;

/// The learned k x k convolution of stride k that shortens the decoder's sequence (arXiv 2210.07224).
#[derive(Debug, Clone)]
pub struct Downsample {
    from: PatchGrid,
    factor: usize,
    weight: Tensor,
    bias: Tensor,
    compute: Compute,
}

impl Downsample {
    /// Defines `weight` `[dim, dim, k, k]` (output, input) and `bias` `[dim]`, for tokens on `from`.
    ///
    /// # Errors
    /// When a parameter's name is taken.
    pub fn new(from: PatchGrid, factor: usize, dim: usize, params: &Params) -> Result<Self> {
        let (weight, bias) = square_kernel(factor, dim, params)?;
        Ok(Self { from, factor, weight, bias, compute: params.compute() })
    }

    /// Maps `[batch, tokens, dim]` to `[batch, tokens / k^2, dim]`.
    ///
    /// # Errors
    /// When the tokens are not those of the grid.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (batch, _, dim) = x.dims3()?;
        let k = self.factor;
        let (rows, cols) = (self.from.rows() / k, self.from.cols() / k);
        let cells = x
            .reshape(&[batch, rows, k, cols, k, dim][..])?
            .permute(vec![0, 1, 3, 2, 4, 5])?
            .reshape((batch, rows * cols, k * k * dim))?;
        let weight = self.weight.permute((0, 2, 3, 1))?.flatten_from(1)?;
        Ok(linear(&cells, &weight, Some(&self.bias), self.compute)?)
    }
}

/// The transposed convolution that brings downsampled tokens back to predicted patches.
#[derive(Debug, Clone)]
pub struct Upsample {
    from: PatchGrid,
    factor: usize,
    weight: Tensor,
    bias: Tensor,
    compute: Compute,
}

impl Upsample {
    /// Defines `weight` `[dim, dim, k, k]` (input, output) and `bias` `[dim]`, for tokens on `from`.
    ///
    /// # Errors
    /// When a parameter's name is taken.
    pub fn new(from: PatchGrid, factor: usize, dim: usize, params: &Params) -> Result<Self> {
        let (weight, bias) = square_kernel(factor, dim, params)?;
        Ok(Self { from, factor, weight, bias, compute: params.compute() })
    }

    /// Maps `[batch, tokens, dim]` to `[batch, tokens * k^2, dim]`.
    ///
    /// # Errors
    /// When the tokens are not those of the grid.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (batch, tokens, dim) = x.dims3()?;
        let k = self.factor;
        let (rows, cols) = (self.from.rows(), self.from.cols());
        let weight = self.weight.permute((2, 3, 1, 0))?.reshape((k * k * dim, dim))?;
        let cells = linear(x, &weight, None, self.compute)?
            .reshape(&[batch, rows, cols, k, k, dim][..])?
            .permute(vec![0, 1, 3, 2, 4, 5])?
            .reshape((batch, tokens * k * k, dim))?;
        Ok(cells.broadcast_add(&self.bias)?)
    }
}

/// `weight` `[dim, dim, k, k]` and `bias` `[dim]`, Xavier as the linear layer that the convolution is.
fn square_kernel(factor: usize, dim: usize, params: &Params) -> Result<(Tensor, Tensor)> {
    let init = Init::XavierUniform { fan_in: factor * factor * dim, fan_out: dim };
    let weight = params.weight("weight", (dim, dim, factor, factor), init)?;
    Ok((weight, params.weight("bias", dim, Init::Zeros)?))
}
