//! AdamW (arXiv 1711.05101) as PyTorch computes it, in one pass over a tensor.

use super::math::fma;
use crate::isa::multiversion;

/// The numbers of an update that hold for a whole tensor.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Factors {
    pub beta1: f32,
    pub beta2: f32,
    pub eps: f32,
    /// `1 - lr * weight decay`.
    pub keep: f32,
    /// `lr / (1 - beta1^t)`.
    pub rate: f32,
    /// `1 / sqrt(1 - beta2^t)`.
    pub correction: f32,
    /// On the gradient, for clipping.
    pub gradient_scale: f32,
}

multiversion! {
    /// Updates values and moments.
    pub(crate) fn update(values: &mut [f32], first: &mut [f32], second: &mut [f32], gradient: &[f32], factors: &Factors)
        = update_body;
}

#[inline(always)]
fn update_body<const FMA: bool>(
    values: &mut [f32],
    first: &mut [f32],
    second: &mut [f32],
    gradient: &[f32],
    factors: &Factors,
) {
    let f = *factors;
    let len = gradient.len();
    let (values, first, second) = (&mut values[..len], &mut first[..len], &mut second[..len]);
    for i in 0..len {
        let g = gradient[i] * f.gradient_scale;
        let m = fma::<FMA>(f.beta1, first[i], (1.0 - f.beta1) * g);
        let v = fma::<FMA>(f.beta2, second[i], (1.0 - f.beta2) * g * g);
        first[i] = m;
        second[i] = v;
        let change = f.rate * m / fma::<FMA>(v.sqrt(), f.correction, f.eps);
        values[i] = fma::<FMA>(values[i], f.keep, -change);
    }
}
