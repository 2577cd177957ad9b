//! The loop in plain Rust, for every machine; the compiler makes vectors of what the target has.

use super::{Args, PANEL, lane};
use crate::element::Element;

pub(super) const ROWS: usize = 4;
/// Columns whose sums are kept in registers at once.
const COLS: usize = 8;

/// # Safety
/// As [`Args`] says.
pub(super) unsafe fn run<T: Element>(args: &Args<T>) {
    for col in (0..PANEL).step_by(COLS) {
        // SAFETY: as the caller promises.
        unsafe {
            match args.rows {
                1 => strip::<T, 1>(args, col),
                2 => strip::<T, 2>(args, col),
                3 => strip::<T, 3>(args, col),
                _ => strip::<T, 4>(args, col),
            }
        }
    }
}

#[inline(always)]
unsafe fn strip<T: Element, const R: usize>(args: &Args<T>, col: usize) {
    let mut sums = [[0.0_f32; COLS]; R];
    for depth in 0..args.depth {
        let (group, part) = (depth / T::GROUP, depth % T::GROUP);
        // SAFETY: `depth` is inside the panel and the rows.
        unsafe {
            let words = &*args.b.add(group * PANEL + col).cast::<[u32; COLS]>();
            let b = words.map(|word| lane::<T>(word, part));
            for (i, sums) in sums.iter_mut().enumerate() {
                let a = args.a(i, depth);
                for (sum, b) in sums.iter_mut().zip(b) {
                    *sum += a * b;
                }
            }
        }
    }
    for (i, sums) in sums.iter().enumerate() {
        // SAFETY: row `i` and these columns are inside the output.
        let out = unsafe { &mut *args.out.add(i * args.out_stride + col).cast::<[f32; COLS]>() };
        for (out, sum) in out.iter_mut().zip(sums) {
            *out = if args.accumulate { *out + sum } else { *sum };
        }
    }
}
