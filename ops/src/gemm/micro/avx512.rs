//! The loop on AVX-512: 12 x 32 sums in 24 registers; bf16 is widened.

use core::arch::x86_64::*;

use super::{Args, PANEL};
use crate::element::Element;

pub(super) const ROWS: usize = 12;

/// Calls a loop that is compiled for each number of rows.
macro_rules! by_rows {
    ($function:ident::<$type:ty, ..>($args:expr): $($rows:literal)*) => {
        match $args.rows {
            $($rows => $function::<$type, $rows>($args),)*
            rows => unreachable!("a tile of {rows} rows"),
        }
    };
}
pub(super) use by_rows;

/// # Safety
/// As [`Args`] says, and the processor must have AVX-512.
pub(super) unsafe fn run<T: Element>(args: &Args<T>) {
    // SAFETY: as the caller promises.
    unsafe { by_rows!(tile::<T, ..>(args): 1 2 3 4 5 6 7 8 9 10 11 12) }
}

/// # Safety
/// As [`run`].
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn tile<T: Element, const R: usize>(args: &Args<T>) {
    let mut sums = [[_mm512_setzero_ps(); 2]; R];
    let high = _mm512_set1_epi32(0xffff_0000_u32 as i32);
    for depth in 0..args.depth {
        // SAFETY: `depth` is inside the panel and the rows.
        unsafe {
            let words = args.b.add(depth / T::GROUP * PANEL).cast::<i32>();
            let b = [_mm512_loadu_epi32(words), _mm512_loadu_epi32(words.add(16))].map(|b| {
                _mm512_castsi512_ps(match (T::GROUP, depth % T::GROUP) {
                    (1, _) => b,
                    (_, 0) => _mm512_slli_epi32::<16>(b),
                    _ => _mm512_and_si512(b, high),
                })
            });
            for (i, sums) in sums.iter_mut().enumerate() {
                let a = _mm512_set1_ps(args.a(i, depth));
                sums[0] = _mm512_fmadd_ps(a, b[0], sums[0]);
                sums[1] = _mm512_fmadd_ps(a, b[1], sums[1]);
            }
        }
    }
    // SAFETY: the output holds R rows.
    unsafe { put(args, &sums) }
}

/// Writes or adds a tile's sums.
///
/// # Safety
/// The output must hold `R` rows, and the processor have AVX-512.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn put<T, const R: usize>(args: &Args<T>, sums: &[[__m512; 2]; R]) {
    for (i, sums) in sums.iter().enumerate() {
        for (j, sum) in sums.iter().enumerate() {
            // SAFETY: row `i` and these columns are inside the output.
            unsafe {
                let out = args.out.add(i * args.out_stride + 16 * j);
                let sum =
                    if args.accumulate { _mm512_add_ps(_mm512_loadu_ps(out), *sum) } else { *sum };
                _mm512_storeu_ps(out, sum);
            }
        }
    }
}
