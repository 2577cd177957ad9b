//! Transposing: through 16 x 16 words in registers with AVX-512, else word by word.

use super::PANEL;
use crate::element::Element;
use crate::matrix::{Rows, RowsMut};

/// Packs up to 32 rows of a source as the 32 columns of a panel.
pub(super) fn pack_transposed<T: Element, S: Element>(source: Rows<'_, S>, words: &mut [u32]) {
    assert!(source.rows() <= PANEL && words.len() == super::panel_words::<T>(source.cols()));
    #[cfg(target_arch = "x86_64")]
    match crate::Isa::current() {
        crate::Isa::Avx512Bf16 | crate::Isa::Amx => {
            // SAFETY: the processor has what these sets stand for; bounds as just checked.
            return unsafe { super::avx512::pack_bf16::<T, S>(source, words) };
        }
        // SAFETY: as above.
        crate::Isa::Avx512 => return unsafe { super::avx512::pack::<T, S>(source, words) },
        _ => {}
    }
    pack_by_words::<T, S>(source, words);
}

/// The word of a source's row at group `i`: one f32 or two bf16.
#[inline(always)]
fn word<T: Element, S: Element>(row: &[S], i: usize) -> u32 {
    let bits = |i: usize| row.get(i).map_or(0, |x| T::from_element(*x).bits());
    if T::GROUP == 1 { bits(i) } else { bits(2 * i) | (bits(2 * i + 1) << 16) }
}

fn pack_by_words<T: Element, S: Element>(source: Rows<'_, S>, words: &mut [u32]) {
    for (i, out) in words.as_chunks_mut::<PANEL>().0.iter_mut().enumerate() {
        for (col, out) in out.iter_mut().enumerate() {
            *out = if col < source.rows() { word::<T, S>(source.row(col), i) } else { 0 };
        }
    }
}

/// `to[j][i] = from[i][j]`.
///
/// # Panics
/// When the sizes do not match.
pub(crate) fn transpose<T: Element>(from: Rows<'_, T>, to: RowsMut<'_, T>) {
    assert_eq!((from.rows(), from.cols()), (to.cols(), to.rows()), "sizes of a transpose");
    #[cfg(target_arch = "x86_64")]
    if crate::Isa::current() >= crate::Isa::Avx512 {
        // SAFETY: the processor has AVX-512; sizes as just checked.
        return unsafe { super::avx512::transpose(from, to) };
    }
    for row in 0..from.rows() {
        for (col, x) in from.row(row).iter().enumerate() {
            // SAFETY: `to` is this task's alone.
            unsafe { to.row(col, row, 1)[0] = *x };
        }
    }
}
