//! The pixel loss of one patch against its normalised target.

use super::sums::mean_and_squares;
use crate::isa::multiversion;

/// Added to the variance under the root (arXiv 2111.06377, reference implementation).
const VARIANCE_EPS: f32 = 1e-6;

multiversion! {
    /// Takes off the mean and divides by the root of the unbiased variance.
    pub(crate) fn normalise(patch: &mut [f32]) = normalise_body;
}

#[inline(always)]
fn normalise_body<const FMA: bool>(patch: &mut [f32]) {
    let len = patch.len();
    let (mean, squares) = mean_and_squares(patch);
    // A patch of a single value has no variance: its target is zero.
    let freedom = len.saturating_sub(1).max(1) as f32;
    let scale = 1.0 / (squares / freedom + VARIANCE_EPS).sqrt();
    patch.iter_mut().for_each(|x| *x = (*x - mean) * scale);
}

multiversion! {
    /// `out = factor * (pred - target)`, where `out` holds the target before.
    pub(crate) fn error_slope(pred: &[f32], factor: f32, out: &mut [f32]) = error_slope_body;
}

#[inline(always)]
fn error_slope_body<const FMA: bool>(pred: &[f32], factor: f32, out: &mut [f32]) {
    out.iter_mut().zip(pred).for_each(|(out, pred)| *out = factor * (pred - *out));
}
