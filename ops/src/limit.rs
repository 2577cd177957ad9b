//! What the hardware can do at best, for benchmarks to compare with.

use half::bf16;

use crate::Precision;
use crate::buffer::Lines;
use crate::element::Element;
use crate::gemm::{Kernel, Operand, PANEL, TileOut, panel_words};
use crate::matrix::Rows;
use crate::parallel::{parallel, threads};

/// Inner dimension of a tile whose operands stay in the first-level cache.
const DEPTH: usize = 256;

/// Runs the products' innermost loop `repeats` times on every thread, on operands in the first-level cache, and gives the
/// number of floating-point operations done. No product is faster than this loop alone.
pub fn inner_loop(precision: Precision, repeats: usize) -> u64 {
    match precision {
        Precision::Fp32 => run::<f32>(repeats),
        Precision::Bf16 => run::<bf16>(repeats),
    }
}

fn run<T: Element>(repeats: usize) -> u64 {
    let kernel = Kernel::<T>::current();
    let rows = kernel.rows();
    parallel(threads(), |_| {
        let mut a = Lines::unset(rows * DEPTH);
        a.fill(T::from_f32(0.5));
        let mut packed = Lines::unset(panel_words::<T>(DEPTH));
        packed.fill(0);
        let mut out = vec![0.0_f32; rows * PANEL];
        let _session = kernel.session();
        for _ in 0..repeats {
            let tile = TileOut { first: out.as_mut_ptr(), stride: PANEL, len: out.len() };
            kernel.run(Operand::Rows(Rows::dense(&a, rows, DEPTH)), &packed, tile, false);
        }
        std::hint::black_box(&out);
    });
    2 * (threads() * repeats * rows * PANEL * DEPTH) as u64
}
