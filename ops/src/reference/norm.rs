use candle_core::{D, Result, Tensor};

/// Layer normalisation over the last dimension, written in operations that all have a gradient.
///
/// `(x - mean) / sqrt(var + eps) * weight + bias`, with the biased variance (arXiv 1607.06450), as
/// PyTorch.
///
/// # Shapes
/// `x` `[.., dim]`, `weight` and `bias` `[dim]`; the result has the shape of `x`.
///
/// # Errors
/// When the shapes do not fit.
pub fn layer_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
    let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
    let variance = centred.sqr()?.mean_keepdim(D::Minus1)?;
    centred.broadcast_div(&(variance + eps)?.sqrt()?)?.broadcast_mul(weight)?.broadcast_add(bias)
}
