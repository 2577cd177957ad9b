//! The loop on AVX-512: 12 x 32 sums in 24 registers; bf16 is widened.
//!
//! Large products pack their f32 rows as strips, `[depth][12]`: twelve rows that lie kilobytes apart are as many streams, of
//! which the processor foresees too few.

use core::arch::x86_64::*;

use super::{Args, PANEL, Strips};
use crate::element::Element;
use crate::gemm::avx512::{pack_strip, pack_strip_transposed};

pub(crate) const ROWS: usize = 12;
/// Words beyond a strip's last step, which packing may write.
const PAD: usize = 16;

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

/// What packs strips of f32, and the loop on them.
pub(super) fn strips<T: Element>() -> Strips<T> {
    Strips {
        run: run_strip,
        words: |depth| depth * ROWS + PAD,
        pack: |a, words| {
            assert!(T::GROUP == 1 && a.rows() <= ROWS && words.len() >= a.cols() * ROWS + PAD);
            // SAFETY: strips are asked for where the processor has AVX-512; sizes as just checked.
            unsafe { pack_strip(a, words) }
        },
        pack_transposed: |a, words| {
            assert!(T::GROUP == 1 && a.cols() <= ROWS && words.len() >= a.rows() * ROWS + PAD);
            // SAFETY: as above.
            unsafe { pack_strip_transposed(a, words) }
        },
        whole: false,
    }
}

/// # Safety
/// As [`run`], `a` being a packed strip of f32.
unsafe fn run_strip<T: Element>(args: &Args<T>) {
    // SAFETY: as the caller promises.
    unsafe { by_rows!(strip_tile::<T, ..>(args): 1 2 3 4 5 6 7 8 9 10 11 12) }
}

/// Steps of the panel, and of the strip, that are asked for ahead: both come from the second-level cache.
const AHEAD: (usize, usize) = (16, 24);

/// # Safety
/// As [`run_strip`].
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn strip_tile<T: Element, const R: usize>(args: &Args<T>) {
    let mut sums = [[_mm512_setzero_ps(); 2]; R];
    let (a, b) = (args.a.cast::<f32>(), args.b.cast::<f32>());
    for depth in 0..args.depth {
        // SAFETY: `depth` is inside panel and strip; a prefetch may name any address.
        unsafe {
            let (a, b) = (a.add(depth * ROWS), b.add(depth * PANEL));
            let columns = [_mm512_loadu_ps(b), _mm512_loadu_ps(b.add(16))];
            for half in [0, 16] {
                _mm_prefetch::<_MM_HINT_T0>(b.wrapping_add(AHEAD.0 * PANEL + half).cast());
            }
            _mm_prefetch::<_MM_HINT_T0>(a.wrapping_add(AHEAD.1 * ROWS).cast());
            for (i, sums) in sums.iter_mut().enumerate() {
                let a = _mm512_set1_ps(*a.add(i));
                sums[0] = _mm512_fmadd_ps(a, columns[0], sums[0]);
                sums[1] = _mm512_fmadd_ps(a, columns[1], sums[1]);
            }
        }
    }
    // SAFETY: the output holds R rows.
    unsafe { put(args, &sums) }
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
