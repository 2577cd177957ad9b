//! Kernels that go row by row: norms, softmax, conversions, the optimiser.

pub(crate) mod adamw;
pub(crate) mod average;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512_bf16;
pub(crate) mod convert;
pub(crate) mod lars;
pub(crate) mod math;
pub(crate) mod norm;
pub(crate) mod pixel;
pub(crate) mod softmax;

/// Sums of a row are kept in this many lanes, so that they are vectors and always added in the same order.
const LANES: usize = 16;

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

/// The sum of `term` over all positions below `len`, in lanes.
#[inline(always)]
fn lane_sum(len: usize, term: impl Fn(usize, f32) -> f32) -> f32 {
    let mut lanes = [0.0_f32; LANES];
    let whole = len / LANES * LANES;
    for start in (0..whole).step_by(LANES) {
        for (i, lane) in lanes.iter_mut().enumerate() {
            *lane = term(start + i, *lane);
        }
    }
    for (i, lane) in (whole..len).zip(&mut lanes) {
        *lane = term(i, *lane);
    }
    total(lanes)
}
