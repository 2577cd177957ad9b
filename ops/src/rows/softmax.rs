//! The rows of attention's scores, and their backward pass.

use super::math::{exp_negative, fma};
use super::sums::{LANES, sum};
use crate::element::Element;
use crate::isa::multiversion;

/// `weights = e^(scale * scores - largest)` of one row; the result is (1 / their sum, the log of the sum of
/// `e^(scale * scores)`). The scores are used up.
pub(crate) fn softmax_row<T: Element>(
    scores: &mut [f32],
    scale: f32,
    weights: &mut [T],
) -> (f32, f32) {
    #[cfg(target_arch = "x86_64")]
    if let Some(weights) = T::as_bf16_mut(weights)
        && super::avx512_bf16::available()
    {
        // SAFETY: the processor has what is needed, as just asked.
        return unsafe { super::avx512_bf16::softmax_row(scores, scale, weights) };
    }
    compiled_softmax_row(scores, scale, weights)
}

multiversion! {
    fn compiled_softmax_row<T: Element>(scores: &mut [f32], scale: f32, weights: &mut [T]) -> (f32, f32)
        = softmax_row_body;
}

#[inline(always)]
fn softmax_row_body<const FMA: bool, T: Element>(
    scores: &mut [f32],
    scale: f32,
    weights: &mut [T],
) -> (f32, f32) {
    let len = scores.len();
    let weights = &mut weights[..len];
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (whole, rest) = scores.as_chunks::<LANES>();
    for chunk in whole {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            *lane = if *x > *lane { *x } else { *lane };
        }
    }
    let largest = lanes.iter().chain(rest).fold(f32::NEG_INFINITY, |a, b| a.max(*b)) * scale;
    // Scores that are all minus infinity, or one that is infinite, have no softmax: NaN, as the plain formula.
    for score in scores.iter_mut() {
        *score = exp_negative::<FMA>(fma::<FMA>(*score, scale, -largest));
    }
    for (weight, score) in weights.iter_mut().zip(&*scores) {
        *weight = T::from_f32(*score);
    }
    let sum = sum(scores);
    (1.0 / sum, largest + sum.ln())
}

/// One key's row of the backward pass, over all queries: from scores and the weights' gradients to weights and the
/// scores' gradients, `weight * (gradient - delta) * scale`.
pub(crate) fn softmax_backward_row<T: Element>(
    scores: &[f32],
    gradients: &[f32],
    log_sums: &[f32],
    deltas: &[f32],
    scale: f32,
    weights: &mut [T],
    score_gradients: &mut [T],
) {
    #[cfg(target_arch = "x86_64")]
    if super::avx512_bf16::available()
        && let Some(weights) = T::as_bf16_mut(weights)
        && let Some(score_gradients) = T::as_bf16_mut(score_gradients)
    {
        // SAFETY: the processor has what is needed, as just asked.
        unsafe {
            super::avx512_bf16::softmax_backward_row(
                scores,
                gradients,
                log_sums,
                deltas,
                scale,
                weights,
                score_gradients,
            );
        }
        return;
    }
    compiled_backward_row(scores, gradients, log_sums, deltas, scale, weights, score_gradients);
}

multiversion! {
    fn compiled_backward_row<T: Element>(
        scores: &[f32], gradients: &[f32], log_sums: &[f32], deltas: &[f32], scale: f32,
        weights: &mut [T], score_gradients: &mut [T]
    ) = softmax_backward_row_body;
}

#[inline(always)]
fn softmax_backward_row_body<const FMA: bool, T: Element>(
    scores: &[f32],
    gradients: &[f32],
    log_sums: &[f32],
    deltas: &[f32],
    scale: f32,
    weights: &mut [T],
    score_gradients: &mut [T],
) {
    let len = log_sums.len();
    let (scores, gradients, deltas) = (&scores[..len], &gradients[..len], &deltas[..len]);
    let (weights, score_gradients) = (&mut weights[..len], &mut score_gradients[..len]);
    for i in 0..len {
        let log = fma::<FMA>(scores[i], scale, -log_sums[i]);
        // Not `min`, which would make a zero of NaN.
        let weight = exp_negative::<FMA>(if log > 0.0 { 0.0 } else { log });
        weights[i] = T::from_f32(weight);
        score_gradients[i] = T::from_f32(weight * scale * (gradients[i] - deltas[i]));
    }
}
