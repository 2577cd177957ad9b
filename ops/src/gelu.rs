use candle_core::{Result, Tensor};

/// The exact GELU, `x/2 (1 + erf(x / sqrt 2))`, as PyTorch's default (arXiv 1606.08415). Any
/// shape.
///
/// # Errors
/// When `x` is not a floating-point tensor.
pub fn gelu(x: &Tensor) -> Result<Tensor> {
    x.gelu_erf()
}
