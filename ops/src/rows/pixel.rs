//! The pixel loss of one patch against its normalised target.

use super::lane_sum;
use super::math::fma;
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
    let x = &*patch;
    let mean = lane_sum(len, |i, sum| sum + x[i]) / len as f32;
    let squares = lane_sum(len, |i, sum| fma::<FMA>(x[i] - mean, x[i] - mean, sum));
    // A patch of a single value has no variance: its target is zero.
    let freedom = len.saturating_sub(1).max(1) as f32;
    let scale = 1.0 / (squares / freedom + VARIANCE_EPS).sqrt();
    patch.iter_mut().for_each(|x| *x = (*x - mean) * scale);
}

multiversion! {
    /// The sum of squared differences.
    pub(crate) fn squared_error(pred: &[f32], target: &[f32]) -> f32 = squared_error_body;
}

#[inline(always)]
fn squared_error_body<const FMA: bool>(pred: &[f32], target: &[f32]) -> f32 {
    let target = &target[..pred.len()];
    lane_sum(pred.len(), |i, sum| {
        let error = pred[i] - target[i];
        fma::<FMA>(error, error, sum)
    })
}

multiversion! {
    /// `out = factor * (pred - target)`, where `out` holds the target before.
    pub(crate) fn error_slope(pred: &[f32], factor: f32, out: &mut [f32]) = error_slope_body;
}

#[inline(always)]
fn error_slope_body<const FMA: bool>(pred: &[f32], factor: f32, out: &mut [f32]) {
    out.iter_mut().zip(pred).for_each(|(out, pred)| *out = factor * (pred - *out));
}
