//! The loop on AVX-512-BF16: as on AVX-512, two products of bf16 a step and sum.

use core::arch::x86_64::*;
use core::mem::transmute;

use super::avx512::{by_rows, put};
use super::{Args, PANEL};
use crate::element::Element;

pub(super) const ROWS: usize = 12;

/// # Safety
/// As [`Args`] says, `T` must be bf16, and the processor have AVX-512-BF16.
pub(super) unsafe fn run<T: Element>(args: &Args<T>) {
    // SAFETY: as the caller promises.
    unsafe { by_rows!(tile::<T, ..>(args): 1 2 3 4 5 6 7 8 9 10 11 12) }
}

/// # Safety
/// As [`run`].
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn tile<T: Element, const R: usize>(args: &Args<T>) {
    let mut sums = [[_mm512_setzero_ps(); 2]; R];
    let a = args.a.cast::<u16>();
    // SAFETY: pairs below `depth` are inside the rows, and an odd one out is read alone; the panel holds zeros
    // beyond. bf16 vectors and integer ones are both 512 bits.
    unsafe {
        let whole = (args.depth + usize::from(args.a_whole)) / 2;
        for pair in 0..whole {
            step(&mut sums, args.b.add(pair * PANEL), |i| {
                a.add(i * args.a_row + pair * args.a_group).cast::<i32>().read_unaligned()
            });
        }
        if 2 * whole < args.depth {
            step(&mut sums, args.b.add(whole * PANEL), |i| {
                i32::from(*a.add(i * args.a_row + whole * args.a_group))
            });
        }
        put(args, &sums);
    }
}

/// One pair of the inner dimension: 32 words of the panel, and a word of each row.
#[inline(always)]
unsafe fn step<const R: usize>(
    sums: &mut [[__m512; 2]; R],
    b: *const u32,
    a: impl Fn(usize) -> i32,
) {
    // SAFETY: as in `tile`, into which this is inlined.
    unsafe {
        let low: __m512bh = transmute(_mm512_loadu_si512(b.cast()));
        let high: __m512bh = transmute(_mm512_loadu_si512(b.add(16).cast()));
        for (i, sums) in sums.iter_mut().enumerate() {
            let a: __m512bh = transmute(_mm512_set1_epi32(a(i)));
            sums[0] = _mm512_dpbf16_ps(sums[0], a, low);
            sums[1] = _mm512_dpbf16_ps(sums[1], a, high);
        }
    }
}
