//! Products of whole matrices that several operations share.

use candle_core::{Result, Tensor};

use crate::backward::Collector;
use crate::buffer::{padded, unset, unset_words};
use crate::element::Element;
use crate::gemm::{
    Accumulate, Epilogue, Kernel, Left, PANEL, Panels, Straight, gemm, panel_words, product,
    transpose,
};
use crate::matrix::{Rows, RowsMut, SharedMut};
use crate::numbers::Numbers;
use crate::parallel::{parallel, parallel_pieces};

/// Columns that a task transposes.
const COLS: usize = 64;

/// `x^T`, with a stride that suits the kernels.
fn transposed<T: Element>(x: Rows<'_, T>) -> Vec<T> {
    let stride = padded::<T>(x.rows());
    let mut out = unset::<T>(x.cols() * stride);
    let to = RowsMut::new(&mut out, x.cols(), x.rows(), stride);
    parallel_pieces(x.cols(), COLS, |start, end| {
        let cols = end - start;
        transpose(x.part(0, x.rows(), start, cols), to.part(start, cols, 0, x.rows()));
    });
    out
}

/// All panels of a matrix's columns.
fn packed<T: Element>(x: Rows<'_, T>) -> Vec<u32> {
    let each = panel_words::<T>(x.rows());
    let panels = x.cols().div_ceil(PANEL);
    let mut words = unset_words(panels * each);
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
    if Kernel::<T>::current().takes_panels() {
        let words = packed(gradient);
        let a = Left::Panels { words: &words, rows, depth };
        return product::<T>(&a, &Straight(input), &epilogue);
    }
    let turned = transposed(gradient);
    let a = Rows::new(&turned, rows, depth, padded::<T>(depth));
    gemm(a, &Straight(input), &epilogue);
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
