//! Products of whole matrices that several operations share.

use candle_core::{Result, Tensor};

use crate::backward::Collector;
use crate::buffer::Lines;
use crate::element::Element;
#[cfg(target_arch = "x86_64")]
use crate::gemm::split;
use crate::gemm::{
    Accumulate, Epilogue, Kernel, Left, PANEL, Panels, Straight, gemm, panel_words, product,
};
use crate::matrix::{Rows, RowsMut, SharedMut};
use crate::numbers::Numbers;
use crate::parallel::parallel;

/// `x^T` as packed strips.
fn transposed_strips<T: Element>(kernel: Kernel<T>, x: Rows<'_, T>) -> Lines<u32> {
    let each = kernel.strip_words(x.rows());
    let (rows, strips) = (kernel.rows(), x.cols().div_ceil(kernel.rows()));
    let mut words = Lines::unset(strips * each);
    let shared = SharedMut::new(&mut words);
    parallel(strips, |strip| {
        let col = strip * rows;
        let cols = (x.cols() - col).min(rows);
        // SAFETY: each task has its own strip.
        let words = unsafe { shared.part(strip * each, (strip + 1) * each) };
        kernel.pack_strip_transposed(x.part(0, x.rows(), col, cols), words);
    });
    words
}

/// All panels of a matrix's columns.
fn packed<T: Element>(x: Rows<'_, T>) -> Lines<u32> {
    let each = panel_words::<T>(x.rows());
    let panels = x.cols().div_ceil(PANEL);
    let mut words = Lines::unset(panels * each);
    let shared = SharedMut::new(&mut words);
    parallel(panels, |panel| {
        // SAFETY: each task has its own panel.
        let words = unsafe { shared.part(panel * each, (panel + 1) * each) };
        Panels::<T>::pack(&Straight(x), panel, words);
    });
    words
}

/// `out = gradient^T input`, or added to it.
pub(crate) fn outer<T: Element>(
    gradient: Rows<'_, T>,
    input: Rows<'_, T>,
    out: RowsMut<'_, f32>,
    add: bool,
) {
    let (rows, depth) = (gradient.cols(), gradient.rows());
    let epilogue = Accumulate { out, add };
    #[cfg(target_arch = "x86_64")]
    if depth > 0 && split::serves::<T>(rows, input.cols()) {
        return split::transposed(gradient, &Straight(input), &epilogue);
    }
    let kernel = Kernel::<T>::current();
    if kernel.takes_strips() {
        let words = transposed_strips(kernel, gradient);
        let a = Left::Strips { words: &words, rows, depth };
        return product::<T>(&a, &Straight(input), &epilogue);
    }
    let words = packed(gradient);
    product::<T>(&Left::Panels { words: &words, rows, depth }, &Straight(input), &epilogue);
}

/// Collects a linear layer's weight's gradient, `dy^T x`.
pub(crate) fn weight_gradient<T: Element>(
    collector: &Collector,
    weight: &Tensor,
    gradient: Rows<'_, T>,
    input: Rows<'_, T>,
) {
    collector.add(weight, |sum, add| {
        outer(gradient, input, RowsMut::dense(sum, gradient.cols(), input.cols()), add);
    });
}

/// The gradient of a linear layer's input, `dy W`.
pub(crate) fn through<T: Element>(
    weight: &Tensor,
    gradient: Rows<'_, T>,
    epilogue: &impl Epilogue,
) -> Result<()> {
    let (outputs, inputs) = weight.dims2()?;
    let weight = Numbers::of(weight)?;
    gemm(gradient, &Straight(Rows::dense(&weight, outputs, inputs)), epilogue);
    Ok(())
}
