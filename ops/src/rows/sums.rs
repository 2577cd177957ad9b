//! Sums over rows. Each is a function of its own: in the midst of others the compiler adds number by number.

use super::math::fma;
use crate::element::Element;
use crate::isa::multiversion;

/// Sums of a row are kept in this many lanes, so that they are vectors and always added in the same order.
pub(super) const LANES: usize = 32;

/// Adds up the lanes, pairwise.
#[inline(always)]
fn total(mut lanes: [f32; LANES]) -> f32 {
    let mut width = LANES;
    while width > 1 {
        width /= 2;
        for i in 0..width {
            lanes[i] += lanes[i + width];
        }
    }
    lanes[0]
}

/// The sum of `term` over the positions of rows that are equally long, in lanes.
///
/// # Panics
/// When a row is shorter than the first.
#[inline(always)]
pub(super) fn lane_sum<T: Copy, const N: usize>(
    rows: [&[T]; N],
    term: impl Fn([T; N], f32) -> f32,
) -> f32 {
    let len = rows.first().map_or(0, |row| row.len());
    let rows = rows.map(|row| row[..len].as_chunks::<LANES>());
    let mut lanes = [0.0_f32; LANES];
    for chunk in 0..len / LANES {
        let chunks = rows.map(|(whole, _)| &whole[chunk]);
        for (i, lane) in lanes.iter_mut().enumerate() {
            *lane = term(chunks.map(|chunk| chunk[i]), *lane);
        }
    }
    // Hidden, or the compiler arranges the loop for what follows: number by number instead of in vectors.
    lanes = std::hint::black_box(lanes);
    for (i, lane) in lanes.iter_mut().enumerate().take(len % LANES) {
        *lane = term(rows.map(|(_, rest)| rest[i]), *lane);
    }
    total(lanes)
}

multiversion! {
    pub(super) fn sum(x: &[f32]) -> f32 = sum_body;
}

#[inline(always)]
fn sum_body<const FMA: bool>(x: &[f32]) -> f32 {
    lane_sum([x], |[x], sum| sum + x)
}

multiversion! {
    pub(crate) fn squares(x: &[f32]) -> f32 = squares_body;
}

#[inline(always)]
fn squares_body<const FMA: bool>(x: &[f32]) -> f32 {
    lane_sum([x], |[x], sum| fma::<FMA>(x, x, sum))
}

/// The mean and the sum of the squares about it.
pub(super) fn mean_and_squares(x: &[f32]) -> (f32, f32) {
    let mean = sum(x) / x.len() as f32;
    (mean, squares_about(x, mean))
}

multiversion! {
    fn squares_about(x: &[f32], mean: f32) -> f32 = squares_about_body;
}

#[inline(always)]
fn squares_about_body<const FMA: bool>(x: &[f32], mean: f32) -> f32 {
    lane_sum([x], |[x], sum| fma::<FMA>(x - mean, x - mean, sum))
}

multiversion! {
    /// The sum of the squares of the differences.
    pub(crate) fn squares_between(a: &[f32], b: &[f32]) -> f32 = squares_between_body;
}

#[inline(always)]
fn squares_between_body<const FMA: bool>(a: &[f32], b: &[f32]) -> f32 {
    lane_sum([a, b], |[a, b], sum| fma::<FMA>(a - b, a - b, sum))
}

multiversion! {
    /// The dot product of two rows.
    pub(crate) fn dot<T: Element>(a: &[T], b: &[T]) -> f32 = dot_body;
}

#[inline(always)]
fn dot_body<const FMA: bool, T: Element>(a: &[T], b: &[T]) -> f32 {
    lane_sum([a, b], |[a, b], sum| fma::<FMA>(a.to_f32(), b.to_f32(), sum))
}

multiversion! {
    /// The sum of `a b (x - mean)`.
    pub(super) fn dot_about(a: &[f32], b: &[f32], x: &[f32], mean: f32) -> f32 = dot_about_body;
}

#[inline(always)]
fn dot_about_body<const FMA: bool>(a: &[f32], b: &[f32], x: &[f32], mean: f32) -> f32 {
    lane_sum([a, b, x], |[a, b, x], sum| fma::<FMA>(a * b, x - mean, sum))
}
