//! Softmax and GELU by hand on AVX-512-BF16, where they end in bf16: with long sequences they take as long as a third of
//! the products, and the compiler has no instruction for the rounding.
//!
//! Accurate to about 1e-6, a thousandth of what bf16 keeps.

use core::arch::x86_64::*;
use core::mem::transmute;

use half::bf16;

/// Whether the instruction set in use has what is here.
pub(crate) fn available() -> bool {
    crate::Isa::current() >= crate::Isa::Avx512Bf16
}

/// The lowest `n` bits set, of 16.
#[inline(always)]
pub(crate) fn mask(n: usize) -> u16 {
    if n >= 16 { u16::MAX } else { (1 << n) - 1 }
}

#[inline(always)]
fn splat(x: f32) -> __m512 {
    // SAFETY: sixteen f32 are a vector.
    unsafe { transmute([x; 16]) }
}

/// `e^x` for `x` up to about 80; NaN for NaN.
#[inline]
#[target_feature(enable = "avx512f")]
fn exp(x: __m512) -> __m512 {
    // The second operand is the result where one is NaN.
    let x = _mm512_max_ps(splat(-87.3), x);
    let n = _mm512_roundscale_ps::<8>(_mm512_mul_ps(x, splat(core::f32::consts::LOG2_E)));
    let r = _mm512_fnmadd_ps(n, splat(0.693_359_4), x);
    let r = _mm512_fnmadd_ps(n, splat(-2.121_944_4e-4), r);
    let mut p = splat(1.0 / 720.0);
    for c in [1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        p = _mm512_fmadd_ps(p, r, splat(c));
    }
    _mm512_scalef_ps(p, n)
}

/// The standard normal distribution's cumulative function and `e^(-x^2/2)` (Abramowitz and Stegun 7.1.26).
#[inline]
#[target_feature(enable = "avx512f,avx512dq")]
fn normal(x: __m512) -> (__m512, __m512) {
    let e = exp(_mm512_mul_ps(_mm512_mul_ps(x, x), splat(-0.5)));
    let scale = splat(0.327_591_1 * core::f32::consts::FRAC_1_SQRT_2);
    let d = _mm512_fmadd_ps(_mm512_abs_ps(x), scale, splat(1.0));
    // One step of Newton's on the processor's 14 bits.
    let t = _mm512_rcp14_ps(d);
    let t = _mm512_mul_ps(t, _mm512_fnmadd_ps(d, t, splat(2.0)));
    let mut p = splat(1.061_405_4);
    for c in [-1.453_152, 1.421_413_7, -0.284_496_74, 0.254_829_6] {
        p = _mm512_fmadd_ps(p, t, splat(c));
    }
    let tail = _mm512_mul_ps(_mm512_mul_ps(p, t), _mm512_mul_ps(e, splat(0.5)));
    let negative = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(x, _mm512_setzero_ps());
    (_mm512_mask_mov_ps(_mm512_sub_ps(splat(1.0), tail), negative, tail), e)
}

/// Within the bounds beyond which GELU is a straight line, so that no infinity meets a zero; NaN for NaN.
#[inline]
#[target_feature(enable = "avx512f")]
fn bounded(x: __m512) -> __m512 {
    _mm512_max_ps(splat(-12.0), _mm512_min_ps(splat(12.0), x))
}

/// Reads up to 16 numbers from `start` on, zeros beyond the end. (Masks only at the end: some processors are slow with
/// masks of 16-bit numbers.)
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn load(x: &[f32], start: usize) -> __m512 {
    let left = x.len() - start;
    // SAFETY: sixteen numbers are there, or the mask leaves out what is beyond the slice.
    unsafe {
        let from = x.as_ptr().add(start);
        if left >= 16 { _mm512_loadu_ps(from) } else { _mm512_maskz_loadu_ps(mask(left), from) }
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn load_bf16(x: &[bf16], start: usize) -> __m512 {
    let left = x.len() - start;
    // SAFETY: as above.
    let bits = unsafe {
        let from = x.as_ptr().add(start);
        if left >= 16 {
            _mm256_loadu_si256(from.cast())
        } else {
            _mm256_maskz_loadu_epi16(mask(left), from.cast())
        }
    };
    _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(bits)))
}

/// Writes up to 16 numbers from `start` on, rounded to nearest even.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
fn store(out: &mut [bf16], start: usize, x: __m512) {
    let left = out.len() - start;
    // SAFETY: as above; both types are 256 bits.
    unsafe {
        let bits: __m256i = transmute(_mm512_cvtneps_pbh(x));
        let to = out.as_mut_ptr().add(start);
        if left >= 16 {
            _mm256_storeu_si256(to.cast(), bits);
        } else {
            _mm256_mask_storeu_epi16(to.cast(), mask(left), bits);
        }
    }
}

/// See `softmax_row`.
///
/// # Safety
/// The processor must have AVX-512-BF16.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
pub(super) fn softmax_row(scores: &[f32], scale: f32, weights: &mut [bf16]) -> (f32, f32) {
    let weights = &mut weights[..scores.len()];
    let mut largest = splat(f32::NEG_INFINITY);
    for start in (0..scores.len()).step_by(16) {
        let valid = mask(scores.len() - start);
        // The first operand's NaN gives way to the second.
        largest = _mm512_mask_max_ps(largest, valid, load(scores, start), largest);
    }
    let largest = _mm512_reduce_max_ps(largest) * scale;
    let (factor, shift) = (splat(scale), splat(largest));
    let mut sums = _mm512_setzero_ps();
    for start in (0..scores.len()).step_by(16) {
        let e = exp(_mm512_fmsub_ps(load(scores, start), factor, shift));
        sums = _mm512_mask_add_ps(sums, mask(scores.len() - start), sums, e);
        store(weights, start, e);
    }
    let sum = _mm512_reduce_add_ps(sums);
    (1.0 / sum, largest + sum.ln())
}

/// See `softmax_backward_row`.
///
/// # Safety
/// The processor must have AVX-512-BF16.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
pub(super) fn softmax_backward_row(
    scores: &[f32],
    gradients: &[f32],
    log_sums: &[f32],
    deltas: &[f32],
    scale: f32,
    weights: &mut [bf16],
    score_gradients: &mut [bf16],
) {
    let len = log_sums.len();
    let (scores, gradients, deltas) = (&scores[..len], &gradients[..len], &deltas[..len]);
    let (weights, score_gradients) = (&mut weights[..len], &mut score_gradients[..len]);
    let factor = splat(scale);
    for start in (0..len).step_by(16) {
        let log = _mm512_fmsub_ps(load(scores, start), factor, load(log_sums, start));
        let weight = exp(_mm512_min_ps(_mm512_setzero_ps(), log));
        let difference = _mm512_sub_ps(load(gradients, start), load(deltas, start));
        store(weights, start, weight);
        store(score_gradients, start, _mm512_mul_ps(_mm512_mul_ps(weight, factor), difference));
    }
}

/// `before = sums + bias` (if it is wanted) and `after = gelu(before)`.
///
/// # Safety
/// The processor must have AVX-512-BF16.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
pub(crate) fn gelu(
    sums: &[f32],
    bias: &[f32],
    mut before: Option<&mut [bf16]>,
    after: &mut [bf16],
) {
    for start in (0..after.len()).step_by(16) {
        let x = _mm512_add_ps(load(sums, start), load(bias, start));
        if let Some(before) = &mut before {
            store(before, start, x);
        }
        let inside = _mm512_max_ps(splat(-12.0), x);
        store(after, start, _mm512_mul_ps(inside, normal(bounded(x)).0));
    }
}

/// `out = sums * gelu'(before)`.
///
/// # Safety
/// The processor must have AVX-512-BF16.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
pub(crate) fn gelu_backward(sums: &[f32], before: &[bf16], out: &mut [bf16]) {
    let before = &before[..out.len()];
    for start in (0..out.len()).step_by(16) {
        let x = bounded(load_bf16(before, start));
        let (cumulative, e) = normal(x);
        let slope = _mm512_fmadd_ps(_mm512_mul_ps(x, e), splat(0.398_942_3), cumulative);
        store(out, start, _mm512_mul_ps(load(sums, start), slope));
    }
}
