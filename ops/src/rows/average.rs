//! Running averages.

use super::math::fma;
use crate::isa::multiversion;

multiversion! {
    /// `average += (x - average) * weight`.
    pub(crate) fn lerp(average: &mut [f32], x: &[f32], weight: f32) = lerp_body;
}

#[inline(always)]
fn lerp_body<const FMA: bool>(average: &mut [f32], x: &[f32], weight: f32) {
    average.iter_mut().zip(x).for_each(|(average, x)| {
        *average = fma::<FMA>(x - *average, weight, *average);
    });
}
