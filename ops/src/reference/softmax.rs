use candle_core::{D, Result, Tensor};

/// Softmax over the last dimension, written in operations that all have a gradient. Any shape.
///
/// # Errors
/// When `x` is a scalar or not a floating-point tensor.
pub fn softmax(x: &Tensor) -> Result<Tensor> {
    // The shift cancels out of the result, so it needs no gradient.
    let shift = x.detach().max_keepdim(D::Minus1)?;
    let exp = x.broadcast_sub(&shift)?.exp()?;
    exp.broadcast_div(&exp.sum_keepdim(D::Minus1)?)
}
