//! The loop on AVX2: 6 x 16 sums in registers, a panel in two halves.

use core::arch::x86_64::*;

use super::{Args, PANEL};
use crate::element::Element;

pub(super) const ROWS: usize = 6;

/// # Safety
/// As [`Args`] says, and the processor must have AVX2 and FMA.
pub(super) unsafe fn run<T: Element>(args: &Args<T>) {
    for half in [0, 16] {
        // SAFETY: as the caller promises.
        unsafe {
            match args.rows {
                1 => strip::<T, 1>(args, half),
                2 => strip::<T, 2>(args, half),
                3 => strip::<T, 3>(args, half),
                4 => strip::<T, 4>(args, half),
                5 => strip::<T, 5>(args, half),
                _ => strip::<T, 6>(args, half),
            }
        }
    }
}

/// # Safety
/// As [`run`].
#[target_feature(enable = "avx2,fma")]
unsafe fn strip<T: Element, const R: usize>(args: &Args<T>, half: usize) {
    let mut sums = [[_mm256_setzero_ps(); 2]; R];
    let high = _mm256_set1_epi32(0xffff_0000_u32 as i32);
    for depth in 0..args.depth {
        // SAFETY: `depth` is inside the panel and the rows.
        unsafe {
            let words = args.b.add(depth / T::GROUP * PANEL + half).cast::<__m256i>();
            let b = [_mm256_loadu_si256(words), _mm256_loadu_si256(words.add(1))].map(|b| {
                _mm256_castsi256_ps(match (T::GROUP, depth % T::GROUP) {
                    (1, _) => b,
                    (_, 0) => _mm256_slli_epi32::<16>(b),
                    _ => _mm256_and_si256(b, high),
                })
            });
            for (i, sums) in sums.iter_mut().enumerate() {
                let a = _mm256_set1_ps(args.a(i, depth));
                sums[0] = _mm256_fmadd_ps(a, b[0], sums[0]);
                sums[1] = _mm256_fmadd_ps(a, b[1], sums[1]);
            }
        }
    }
    for (i, sums) in sums.iter().enumerate() {
        for (j, sum) in sums.iter().enumerate() {
            // SAFETY: row `i` and these columns are inside the output.
            unsafe {
                let out = args.out.add(i * args.out_stride + half + 8 * j);
                let old = if args.accumulate { _mm256_loadu_ps(out) } else { _mm256_setzero_ps() };
                _mm256_storeu_ps(out, _mm256_add_ps(old, *sum));
            }
        }
    }
}
