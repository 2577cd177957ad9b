//! Packing: a step is three parts, and each part what two tiles of the processor load.
//!
//! A part of a strip is `[32 rows][32]`, of a panel `[16 pairs][32 columns][2]`. What is missing at the edges is zero.

use core::arch::x86_64::*;

use super::{PART, ROWS, STEP, STEP_WORDS};
use crate::element::Element;
use crate::gemm::avx512::{AHEAD, PAIRS, bf16_pairs, transpose_words};
use crate::gemm::{PANEL, transpose};
use crate::matrix::{Rows, RowsMut};
use crate::rows::avx512_bf16::mask;

/// The next part of 32 numbers, of which the first 16 are `low`, and what is left of them.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn take(low: &mut __m512, high: &mut __m512) -> __m512i {
    let part = bf16_pairs(*low, *high);
    let back = |half| _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(half)));
    *low = _mm512_sub_ps(*low, back(_mm512_castsi512_si256(part)));
    *high = _mm512_sub_ps(*high, back(_mm512_extracti64x4_epi64::<1>(part)));
    part
}

/// 32 numbers of a row, of which `width` are there, and the next two lines of the cache asked for.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn load_step<T: Element>(row: &[T], start: usize, width: usize) -> (__m512, __m512) {
    let from = row[start..start + width].as_ptr().cast::<f32>();
    // SAFETY: masked loads touch only the numbers that are there; a prefetch may name any address.
    unsafe {
        _mm_prefetch::<_MM_HINT_T0>(from.cast::<i8>().wrapping_add(256));
        _mm_prefetch::<_MM_HINT_T0>(from.cast::<i8>().wrapping_add(320));
        let rest = mask(width.saturating_sub(16));
        let high = _mm512_maskz_loadu_ps(rest, from.wrapping_add(16));
        (_mm512_maskz_loadu_ps(mask(width), from), high)
    }
}

/// Packs up to 32 rows.
pub(super) fn rows<T: Element>(a: Rows<'_, T>, words: &mut [u32]) {
    assert!(T::GROUP == 1 && a.rows() <= ROWS && words.len() == super::words(a.cols()));
    // SAFETY: reached only where the processor has AMX, which these sets come with.
    unsafe { rows_of(a, words) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn rows_of<T: Element>(a: Rows<'_, T>, words: &mut [u32]) {
    for (step, to) in words.chunks_exact_mut(STEP_WORDS).enumerate() {
        let start = step * STEP;
        let width = (a.cols() - start).min(STEP);
        for row in 0..ROWS {
            let (mut low, mut high) = (_mm512_setzero_ps(), _mm512_setzero_ps());
            if row < a.rows() {
                (low, high) = load_step(a.row(row), start, width);
            }
            for part in 0..3 {
                let to = &mut to[part * PART + row * STEP / 2..][..STEP / 2];
                // SAFETY: 16 words, as just cut.
                unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), take(&mut low, &mut high)) };
            }
        }
    }
}

/// Packs up to 32 columns, of which each is a row.
pub(super) fn columns<T: Element>(a: Rows<'_, T>, words: &mut [u32]) {
    assert!(T::GROUP == 1 && a.cols() <= ROWS && words.len() == super::words(a.rows()));
    let mut block = [T::from_f32(0.0); ROWS * STEP];
    for (step, to) in words.chunks_exact_mut(STEP_WORDS).enumerate() {
        let start = step * STEP;
        let depth = (a.rows() - start).min(STEP);
        let cols = a.cols();
        transpose(a.part(start, depth, 0, cols), RowsMut::new(&mut block, cols, depth, STEP));
        rows(Rows::new(&block, cols, depth, STEP), to);
    }
}

/// Packs up to 32 columns as a panel.
pub(in crate::gemm) fn panel<S: Element>(source: Rows<'_, S>, words: &mut [u32]) {
    assert!(S::GROUP == 1 && source.cols() <= PANEL && words.len() == super::words(source.rows()));
    // SAFETY: reached only where the processor has AMX, which these sets come with.
    unsafe { panel_of(source, words) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn panel_of<S: Element>(source: Rows<'_, S>, words: &mut [u32]) {
    // SAFETY: 32 numbers of 16 bits.
    let order = unsafe { _mm512_loadu_si512(PAIRS.as_ptr().cast()) };
    for (step, to) in words.chunks_exact_mut(STEP_WORDS).enumerate() {
        for pair in 0..STEP / 2 {
            let row = step * STEP + 2 * pair;
            for half in [0, PANEL / 2] {
                let load = |row: usize| {
                    if row >= source.rows() || half >= source.cols() {
                        return _mm512_setzero_ps();
                    }
                    let from = source.row(row)[half..].as_ptr();
                    let ahead = from.wrapping_add(2 * AHEAD * source.stride());
                    // SAFETY: a masked load touches only the numbers that are there; a prefetch may name any address.
                    unsafe {
                        _mm_prefetch::<_MM_HINT_T0>(ahead.cast());
                        _mm512_maskz_loadu_ps(mask(source.cols() - half), from.cast())
                    }
                };
                let (mut low, mut high) = (load(row), load(row + 1));
                for part in 0..3 {
                    let words = _mm512_permutexvar_epi16(order, take(&mut low, &mut high));
                    let to = &mut to[part * PART + pair * PANEL + half..][..PANEL / 2];
                    // SAFETY: 16 words, as just cut.
                    unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), words) };
                }
            }
        }
    }
}

/// Packs up to 32 rows as the columns of a panel.
pub(in crate::gemm) fn panel_transposed<S: Element>(source: Rows<'_, S>, words: &mut [u32]) {
    assert!(S::GROUP == 1 && source.rows() <= PANEL && words.len() == super::words(source.cols()));
    // SAFETY: reached only where the processor has AMX, which these sets come with.
    unsafe { panel_transposed_of(source, words) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn panel_transposed_of<S: Element>(source: Rows<'_, S>, words: &mut [u32]) {
    for (step, to) in words.chunks_exact_mut(STEP_WORDS).enumerate() {
        let start = step * STEP;
        let width = (source.cols() - start).min(STEP);
        for half in [0, PANEL / 2] {
            let mut parts = [[_mm512_setzero_si512(); PANEL / 2]; 3];
            for i in 0..(source.rows().saturating_sub(half)).min(PANEL / 2) {
                let (mut low, mut high) = load_step(source.row(half + i), start, width);
                for part in &mut parts {
                    part[i] = take(&mut low, &mut high);
                }
            }
            for (part, words) in parts.iter_mut().enumerate() {
                transpose_words(words);
                for (pair, words) in words.iter().enumerate() {
                    let to = &mut to[part * PART + pair * PANEL + half..][..PANEL / 2];
                    // SAFETY: 16 words, as just cut.
                    unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), *words) };
                }
            }
        }
    }
}
