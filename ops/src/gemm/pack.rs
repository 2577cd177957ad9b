//! Packing `B`: panels of 32 columns, the inner dimension in groups of one (f32) or two (bf16) numbers.
//!
//! A panel is `[ceil(depth / group)][32][group]`, with zeros beyond the depth (up to a multiple of 16 groups) and
//! beyond the last column.

use super::PANEL;
use super::transpose::pack_transposed;
use crate::buffer::Lines;
use crate::element::Element;
use crate::isa::multiversion;
use crate::matrix::Rows;

/// A matrix `B` that can be packed panel by panel.
pub(crate) trait Panels<T>: Sync {
    /// Inner dimension: rows of `B`.
    fn depth(&self) -> usize;
    /// Columns of `B`.
    fn cols(&self) -> usize;
    /// Writes panel number `panel` into 32-bit words.
    fn pack(&self, panel: usize, words: &mut [u32]);
    /// The same as [`super::split`] takes it.
    #[cfg(target_arch = "x86_64")]
    fn pack_split(&self, panel: usize, words: &mut [u32]);
}

/// `B` as it lies.
pub(crate) struct Straight<'a, S>(pub Rows<'a, S>);

/// `B` as the transpose of what lies there: a weight `[out, in]` in `x W^T`.
pub(crate) struct Transposed<'a, S>(pub Rows<'a, S>);

impl<T: Element, S: Element> Panels<T> for Straight<'_, S> {
    fn depth(&self) -> usize {
        self.0.rows()
    }

    fn cols(&self) -> usize {
        self.0.cols()
    }

    fn pack(&self, panel: usize, words: &mut [u32]) {
        let col = panel * PANEL;
        let width = (self.0.cols() - col).min(PANEL);
        let words = &mut words[..super::panel_words::<T>(self.0.rows())];
        if T::GROUP == 1 {
            pack_rows::<S>(self.0.part(0, self.0.rows(), col, width), words);
        } else {
            pack_pairs::<S>(self.0.part(0, self.0.rows(), col, width), words);
        }
    }

    #[cfg(target_arch = "x86_64")]
    fn pack_split(&self, panel: usize, words: &mut [u32]) {
        let col = panel * PANEL;
        let width = (self.0.cols() - col).min(PANEL);
        super::split::pack::panel(self.0.part(0, self.0.rows(), col, width), words);
    }
}

multiversion! {
    fn pack_rows<S: Element>(source: Rows<'_, S>, words: &mut [u32]) = pack_rows_body;
}

#[inline(always)]
fn pack_rows_body<const FMA: bool, S: Element>(source: Rows<'_, S>, words: &mut [u32]) {
    for (i, out) in words.as_chunks_mut::<PANEL>().0.iter_mut().enumerate() {
        if i >= source.rows() {
            out.fill(0);
            continue;
        }
        match <&[S; PANEL]>::try_from(source.row(i)) {
            Ok(row) => out.iter_mut().zip(row).for_each(|(out, x)| *out = x.to_f32().to_bits()),
            Err(_) => {
                out.fill(0);
                let row = source.row(i).iter();
                out.iter_mut().zip(row).for_each(|(out, x)| *out = x.to_f32().to_bits());
            }
        }
    }
}

/// Two rows become one of pairs, rounded to bf16.
fn pack_pairs<S: Element>(source: Rows<'_, S>, words: &mut [u32]) {
    assert!(source.cols() <= PANEL && words.len().is_multiple_of(PANEL));
    #[cfg(target_arch = "x86_64")]
    match crate::Isa::current() {
        crate::Isa::Avx512Bf16 | crate::Isa::Amx => {
            // SAFETY: the processor has what these sets stand for; sizes as just checked.
            return unsafe { super::avx512::pack_pairs_bf16(source, words) };
        }
        // SAFETY: as above.
        crate::Isa::Avx512 => return unsafe { super::avx512::pack_pairs(source, words) },
        _ => {}
    }
    let bits = |x: &S| half::bf16::from_element(*x).bits();
    for (i, out) in words.as_chunks_mut::<PANEL>().0.iter_mut().enumerate() {
        out.fill(0);
        for (row, shift) in [(2 * i, 0), (2 * i + 1, 16)] {
            if row < source.rows() {
                let row = source.row(row).iter();
                out.iter_mut().zip(row).for_each(|(out, x)| *out |= bits(x) << shift);
            }
        }
    }
}

impl<T: Element, S: Element> Panels<T> for Transposed<'_, S> {
    fn depth(&self) -> usize {
        self.0.cols()
    }

    fn cols(&self) -> usize {
        self.0.rows()
    }

    fn pack(&self, panel: usize, words: &mut [u32]) {
        let row = panel * PANEL;
        let rows = (self.0.rows() - row).min(PANEL);
        let words = &mut words[..super::panel_words::<T>(self.0.cols())];
        pack_transposed::<T, S>(self.0.part(row, rows, 0, self.0.cols()), words);
    }

    #[cfg(target_arch = "x86_64")]
    fn pack_split(&self, panel: usize, words: &mut [u32]) {
        let row = panel * PANEL;
        let rows = (self.0.rows() - row).min(PANEL);
        super::split::pack::panel_transposed(self.0.part(row, rows, 0, self.0.cols()), words);
    }
}

/// All panels of a small matrix, one after the other.
pub(crate) fn pack_all<T: Element>(b: &impl Panels<T>, words: &mut Lines<u32>) {
    let each = super::panel_words::<T>(b.depth());
    let panels = b.cols().div_ceil(PANEL);
    let words = words.room(each * panels);
    for (panel, words) in words.chunks_exact_mut(each.max(1)).enumerate() {
        b.pack(panel, words);
    }
}
