//! Packing and transposing with AVX-512: through 16 x 16 words in registers, or row by row.

use core::arch::x86_64::*;

use super::PANEL;
use crate::element::Element;
use crate::matrix::{Rows, RowsMut};
use crate::rows::avx512_bf16::mask;

/// The lowest `n` bits set, of 32.
#[inline(always)]
fn mask32(n: usize) -> u32 {
    if n >= 32 { u32::MAX } else { (1 << n) - 1 }
}

#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn transpose_words(r: &mut [__m512i; 16]) {
    let mut t = [_mm512_setzero_si512(); 16];
    for i in 0..8 {
        t[2 * i] = _mm512_unpacklo_epi32(r[2 * i], r[2 * i + 1]);
        t[2 * i + 1] = _mm512_unpackhi_epi32(r[2 * i], r[2 * i + 1]);
    }
    for i in 0..4 {
        for j in 0..2 {
            r[4 * i + 2 * j] = _mm512_unpacklo_epi64(t[4 * i + j], t[4 * i + 2 + j]);
            r[4 * i + 2 * j + 1] = _mm512_unpackhi_epi64(t[4 * i + j], t[4 * i + 2 + j]);
        }
    }
    for i in 0..4 {
        t[i] = _mm512_shuffle_i32x4::<0x88>(r[i], r[4 + i]);
        t[4 + i] = _mm512_shuffle_i32x4::<0xdd>(r[i], r[4 + i]);
        t[8 + i] = _mm512_shuffle_i32x4::<0x88>(r[8 + i], r[12 + i]);
        t[12 + i] = _mm512_shuffle_i32x4::<0xdd>(r[8 + i], r[12 + i]);
    }
    for i in 0..8 {
        r[i] = _mm512_shuffle_i32x4::<0x88>(t[i], t[8 + i]);
        r[8 + i] = _mm512_shuffle_i32x4::<0xdd>(t[i], t[8 + i]);
    }
}

/// Two vectors of f32 as one of bf16, rounded to nearest even, without the instruction for it.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn round_pairs(low: __m512, high: __m512) -> __m512i {
    let round = |x: __m512| {
        let bits = _mm512_castps_si512(x);
        let odd = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
        let up = _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff));
        let rounded = _mm512_srli_epi32::<16>(_mm512_add_epi32(bits, up));
        let quiet = _mm512_or_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(0x40));
        let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(x, x);
        _mm512_cvtepi32_epi16(_mm512_mask_mov_epi32(rounded, nan, quiet))
    };
    _mm512_inserti64x4::<1>(_mm512_castsi256_si512(round(low)), round(high))
}

/// 16 words of a row from group `start` on; `left` numbers are there.
///
/// # Safety
/// `row` must be good for `left` numbers, and the processor have AVX-512-BF16 if `HARDWARE`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn load<const HARDWARE: bool, T: Element, S: Element>(
    row: *const S,
    left: usize,
) -> __m512i {
    // SAFETY: masked loads touch only the numbers that are there.
    unsafe {
        match (S::GROUP, T::GROUP) {
            (1, 1) => _mm512_maskz_loadu_epi32(mask(left), row.cast()),
            (2, 2) if left >= 32 => _mm512_loadu_si512(row.cast()),
            (2, 2) => _mm512_maskz_loadu_epi16(mask32(left), row.cast()),
            (1, _) => {
                let low = _mm512_maskz_loadu_ps(mask(left), row.cast());
                let rest = mask(left.saturating_sub(16));
                let high = _mm512_maskz_loadu_ps(rest, row.cast::<f32>().wrapping_add(16));
                if HARDWARE { convert(low, high) } else { round_pairs(low, high) }
            }
            _ => {
                let half = _mm512_maskz_loadu_epi16(mask32(left.min(16)), row.cast());
                let wide = _mm512_cvtepu16_epi32(_mm512_castsi512_si256(half));
                _mm512_slli_epi32::<16>(wide)
            }
        }
    }
}

/// # Safety
/// The processor must have AVX-512-BF16.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub(super) fn bf16_pairs(low: __m512, high: __m512) -> __m512i {
    // SAFETY: both are 512 bits.
    unsafe { core::mem::transmute(_mm512_cvtne2ps_pbh(high, low)) }
}

/// # Safety
/// The processor must have AVX-512-BF16.
#[inline(always)]
unsafe fn convert(low: __m512, high: __m512) -> __m512i {
    // SAFETY: as the caller promises.
    unsafe { bf16_pairs(low, high) }
}

#[inline(always)]
unsafe fn pack_body<const HARDWARE: bool, T: Element, S: Element>(
    source: Rows<'_, S>,
    words: &mut [u32],
) {
    let cols = source.cols();
    for (block, out) in words.chunks_exact_mut(16 * PANEL).enumerate() {
        let start = block * 16 * T::GROUP;
        for half in 0..2 {
            // SAFETY: rows and columns are inside the source; the 16 stores of a half cover words
            // `j * PANEL + 16 * half ..+ 16` of a block of 16 x PANEL.
            unsafe {
                let mut r = [_mm512_setzero_si512(); 16];
                for (i, r) in r.iter_mut().enumerate() {
                    let row = half * 16 + i;
                    if row < source.rows() {
                        let from = source.row(row)[start.min(cols)..].as_ptr();
                        *r = load::<HARDWARE, T, S>(from, cols - start.min(cols));
                        // Weights come from memory: ask for what is needed two blocks on.
                        _mm_prefetch::<_MM_HINT_T0>(from.cast::<i8>().wrapping_add(256));
                        _mm_prefetch::<_MM_HINT_T0>(from.cast::<i8>().wrapping_add(320));
                    }
                }
                transpose_words(&mut r);
                for (j, r) in r.iter().enumerate() {
                    let to = out.as_mut_ptr().add(j * PANEL + half * 16);
                    _mm512_storeu_si512(to.cast(), *r);
                }
            }
        }
    }
}

/// # Safety
/// The processor must have AVX-512; `words` is a multiple of 16 x PANEL and holds the source.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(super) unsafe fn pack<T: Element, S: Element>(source: Rows<'_, S>, words: &mut [u32]) {
    // SAFETY: as the caller promises.
    unsafe { pack_body::<false, T, S>(source, words) }
}

/// # Safety
/// As [`pack`], and the processor must have AVX-512-BF16.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
pub(super) unsafe fn pack_bf16<T: Element, S: Element>(source: Rows<'_, S>, words: &mut [u32]) {
    // SAFETY: as the caller promises.
    unsafe { pack_body::<true, T, S>(source, words) }
}

/// # Safety
/// The processor must have AVX-512, and `to` be as many columns and rows as `from` is rows and columns.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(super) unsafe fn transpose<T: Element>(from: Rows<'_, T>, to: RowsMut<'_, T>) {
    let (rows, cols) = (from.rows(), from.cols());
    let tall = 16 * T::GROUP;
    for row in (0..rows).step_by(tall) {
        for col in (0..cols).step_by(16) {
            let width = mask(cols - col);
            let mut r = [_mm512_setzero_si512(); 16];
            for (i, r) in r.iter_mut().enumerate() {
                // SAFETY: masked loads and stores touch only what is inside the matrices.
                unsafe {
                    let load = |row: usize| {
                        if row >= rows {
                            return _mm512_setzero_si512();
                        }
                        let from = from.row(row)[col..].as_ptr();
                        if T::GROUP == 1 {
                            return _mm512_maskz_loadu_epi32(width, from.cast());
                        }
                        _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(width, from.cast()))
                    };
                    *r = load(row + i * T::GROUP);
                    if T::GROUP == 2 {
                        let high = _mm512_slli_epi32::<16>(load(row + 2 * i + 1));
                        *r = _mm512_or_si512(*r, high);
                    }
                }
            }
            transpose_words(&mut r);
            for (j, r) in r.iter().enumerate().take(cols - col) {
                let left = (rows - row).min(tall);
                // SAFETY: as above.
                unsafe {
                    let to = to.row(col + j, row, left).as_mut_ptr();
                    if left == tall {
                        // Some processors are slow with masks of 16-bit numbers.
                        _mm512_storeu_si512(to.cast(), *r);
                    } else if T::GROUP == 1 {
                        _mm512_mask_storeu_epi32(to.cast(), mask(left), *r);
                    } else {
                        _mm512_mask_storeu_epi16(to.cast(), mask32(left), *r);
                    }
                }
            }
        }
    }
}

/// Words of a step of a strip of f32.
const STRIP: usize = super::micro::STRIP_ROWS;

/// Packs up to 12 rows as a strip, `[depth][12]`; what a strip lacks is zeros.
///
/// # Safety
/// The processor must have AVX-512; `words` has room for a vector beyond the strip.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(super) unsafe fn pack_strip<T: Element>(a: Rows<'_, T>, words: &mut [u32]) {
    for start in (0..a.cols()).step_by(16) {
        let left = (a.cols() - start).min(16);
        let mut r = [_mm512_setzero_si512(); 16];
        // SAFETY: masked loads touch only what is inside the rows (a prefetch may name any address); a store covers a step
        // of the strip and four words of the next, which is stored after it, or the room beyond.
        unsafe {
            for (i, r) in r.iter_mut().enumerate().take(a.rows()) {
                let from = a.row(i)[start..].as_ptr();
                *r = _mm512_maskz_loadu_epi32(mask(left), from.cast());
                _mm_prefetch::<_MM_HINT_T0>(from.cast::<i8>().wrapping_add(256));
            }
            transpose_words(&mut r);
            for (j, r) in r.iter().enumerate().take(left) {
                let to = words.as_mut_ptr().add((start + j) * STRIP);
                _mm512_storeu_si512(to.cast(), *r);
            }
        }
    }
}

/// Packs up to 12 columns as the rows of a strip.
///
/// # Safety
/// As [`pack_strip`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(super) unsafe fn pack_strip_transposed<T: Element>(a: Rows<'_, T>, words: &mut [u32]) {
    let there = mask(a.cols());
    for i in 0..a.rows() {
        // SAFETY: as in [`pack_strip`].
        unsafe {
            let from = a.row(i).as_ptr();
            _mm_prefetch::<_MM_HINT_T0>(from.wrapping_add(AHEAD * a.stride()).cast());
            let row = _mm512_maskz_loadu_epi32(there, from.cast());
            _mm512_storeu_si512(words.as_mut_ptr().add(i * STRIP).cast(), row);
        }
    }
}

/// How many groups of rows ahead a straight packing asks for: a panel takes a line or two of each row, which the
/// processor does not foresee.
pub(super) const AHEAD: usize = 12;

/// Of 32 numbers, first one of the first 16, then one of the others.
pub(super) const PAIRS: [u16; 32] = {
    let mut order = [0; 32];
    let mut i = 0;
    while i < 32 {
        order[i] = (i / 2 + i % 2 * 16) as u16;
        i += 1;
    }
    order
};

/// 16 words of two rows, low halves from the first; `left` numbers are there.
///
/// # Safety
/// Both rows must be good for `left` numbers, and the processor have AVX-512-BF16 if `HARDWARE`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn pair<const HARDWARE: bool, S: Element>(
    low: *const S,
    high: Option<*const S>,
    left: usize,
) -> __m512i {
    let valid = mask(left);
    // SAFETY: masked loads touch only the numbers that are there.
    unsafe {
        if S::GROUP == 2 {
            let wide =
                |row: *const S| _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(valid, row.cast()));
            let high = high.map_or(_mm512_setzero_si512(), &wide);
            return _mm512_or_si512(wide(low), _mm512_slli_epi32::<16>(high));
        }
        let load = |row: *const S| _mm512_maskz_loadu_ps(valid, row.cast());
        let (low, high) = (load(low), high.map_or(_mm512_setzero_ps(), load));
        let halves = if HARDWARE { convert(low, high) } else { round_pairs(low, high) };
        _mm512_permutexvar_epi16(_mm512_loadu_si512(PAIRS.as_ptr().cast()), halves)
    }
}

#[inline(always)]
unsafe fn pack_pairs_body<const HARDWARE: bool, S: Element>(
    source: Rows<'_, S>,
    words: &mut [u32],
) {
    let (rows, cols) = (source.rows(), source.cols());
    for (i, out) in words.chunks_exact_mut(PANEL).enumerate() {
        if 2 * i >= rows {
            out.fill(0);
            continue;
        }
        // SAFETY: rows and columns are inside the source (a prefetch may name any address); two stores of 16 words
        // fill `out`.
        unsafe {
            let low = source.row(2 * i).as_ptr();
            let high = (2 * i + 1 < rows).then(|| source.row(2 * i + 1).as_ptr());
            for row in 0..2 {
                let ahead = low.wrapping_add((2 * AHEAD + row) * source.stride());
                _mm_prefetch::<_MM_HINT_T0>(ahead.cast());
                if S::GROUP == 1 {
                    _mm_prefetch::<_MM_HINT_T0>(ahead.wrapping_add(16).cast());
                }
            }
            for half in [0, 16_usize] {
                let left = cols.saturating_sub(half);
                let words = pair::<HARDWARE, S>(
                    low.wrapping_add(half),
                    high.map(|row| row.wrapping_add(half)),
                    left,
                );
                _mm512_storeu_si512(out.as_mut_ptr().add(half).cast(), words);
            }
        }
    }
}

/// Two rows become one of pairs in bf16.
///
/// # Safety
/// The processor must have AVX-512; the source has at most 32 columns, and `words` is whole rows of a panel.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(super) unsafe fn pack_pairs<S: Element>(source: Rows<'_, S>, words: &mut [u32]) {
    // SAFETY: as the caller promises.
    unsafe { pack_pairs_body::<false, S>(source, words) }
}

/// # Safety
/// As [`pack_pairs`], and the processor must have AVX-512-BF16.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
pub(super) unsafe fn pack_pairs_bf16<S: Element>(source: Rows<'_, S>, words: &mut [u32]) {
    // SAFETY: as the caller promises.
    unsafe { pack_pairs_body::<true, S>(source, words) }
}
