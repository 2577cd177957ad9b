use candle_core::{D, Result, Tensor};

/// Added to the variance under the root (arXiv 2111.06377, reference implementation).
const VARIANCE_EPS: f64 = 1e-6;

/// The weighted mean of the patches' mean squared errors: see [`pixel_loss`](crate::pixel_loss).
///
/// # Errors
/// When the shapes do not fit.
pub fn pixel_loss(
    pred: &Tensor,
    patches: &Tensor,
    weights: &Tensor,
    normalise: bool,
) -> Result<Tensor> {
    let target = if normalise { normalised_patches(patches)? } else { patches.clone() };
    let error = (pred - target)?.sqr()?.mean(D::Minus1)?;
    (error * weights)?.sum_all()? / weights.sum_all()?
}

/// Each patch less its mean, over the root of its unbiased variance plus 1e-6 (`norm_pix_loss`).
///
/// # Shapes
/// `patches` `[.., pixels]`; the result is the same.
///
/// # Errors
/// When `patches` is not a floating-point tensor.
pub fn normalised_patches(patches: &Tensor) -> Result<Tensor> {
    let centred = patches.broadcast_sub(&patches.mean_keepdim(D::Minus1)?)?;
    // A patch of a single value has no variance: its target is zero.
    let freedom = patches.dim(D::Minus1)?.saturating_sub(1).max(1);
    let variance = (centred.sqr()?.sum_keepdim(D::Minus1)? / freedom as f64)?;
    centred.broadcast_div(&(variance + VARIANCE_EPS)?.sqrt()?)
}
