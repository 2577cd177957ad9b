//! LARS (arXiv 1708.03888) as MAE's linear probe computes it, in passes over a tensor.

use super::math::fma;
use crate::isa::multiversion;

/// The numbers of an update that hold for a whole tensor.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Factors {
    /// On the gradient, for clipping.
    pub gradient_scale: f32,
    pub weight_decay: f32,
    /// The trust ratio.
    pub trust: f32,
    pub momentum: f32,
    pub lr: f32,
}

multiversion! {
    /// The sum of squares of the decayed gradient.
    pub(crate) fn decayed_squares(values: &[f32], gradient: &[f32], factors: &Factors) -> f32
        = decayed_squares_body;
}

#[inline(always)]
fn decayed_squares_body<const FMA: bool>(
    values: &[f32],
    gradient: &[f32],
    factors: &Factors,
) -> f32 {
    let f = *factors;
    super::sums::lane_sum([gradient, values], |[gradient, value], sum| {
        let decayed = fma::<FMA>(value, f.weight_decay, gradient * f.gradient_scale);
        fma::<FMA>(decayed, decayed, sum)
    })
}

multiversion! {
    /// Updates values and momentum.
    pub(crate) fn update(values: &mut [f32], momentum: &mut [f32], gradient: &[f32], factors: &Factors) = update_body;
}

#[inline(always)]
fn update_body<const FMA: bool>(
    values: &mut [f32],
    momentum: &mut [f32],
    gradient: &[f32],
    factors: &Factors,
) {
    let f = *factors;
    let len = gradient.len();
    let (values, momentum) = (&mut values[..len], &mut momentum[..len]);
    for i in 0..len {
        let decayed = fma::<FMA>(values[i], f.weight_decay, gradient[i] * f.gradient_scale);
        let moved = fma::<FMA>(f.momentum, momentum[i], decayed * f.trust);
        momentum[i] = moved;
        values[i] = fma::<FMA>(-f.lr, moved, values[i]);
    }
}
