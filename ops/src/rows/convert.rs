//! Copies that convert, scale and sum on the way.

use crate::element::Element;
use crate::gemm::RowScale;
use crate::isa::multiversion;
use crate::matrix::{Rows, RowsMut, SharedMut};
use crate::parallel::parallel_pieces;

/// Columns that a task sums; a column is always summed from the first row to the last.
const COLS: usize = 128;
/// Rows that are summed before their sum joins the others'.
const RUN: usize = 32;

/// `out = scale * x` in another precision.
pub(crate) fn convert<S: Element, T: Element>(
    x: Rows<'_, S>,
    scale: Option<RowScale<'_>>,
    out: RowsMut<'_, T>,
) {
    let cols = x.cols();
    assert!(out.rows() == x.rows() && out.cols() == cols);
    parallel_pieces(x.rows(), 64, |start, end| {
        for row in start..end {
            // SAFETY: each task has its own rows.
            let out = unsafe { out.row(row, 0, cols) };
            convert_row(x.row(row), RowScale::at(scale, row), out);
        }
    });
}

multiversion! {
    /// `out = factor * x`.
    pub(crate) fn convert_row<S: Element, T: Element>(x: &[S], factor: f32, out: &mut [T]) = convert_row_body;
}

#[inline(always)]
fn convert_row_body<const FMA: bool, S: Element, T: Element>(x: &[S], factor: f32, out: &mut [T]) {
    if factor == 1.0 {
        out.iter_mut().zip(x).for_each(|(out, x)| *out = T::from_element(*x));
    } else {
        out.iter_mut().zip(x).for_each(|(out, x)| *out = T::from_f32(factor * x.to_f32()));
    }
}

/// The sum of each column: a bias's gradient.
pub(crate) fn column_sums<T: Element>(x: Rows<'_, T>) -> Vec<f32> {
    let mut sums = vec![0.0; x.cols()];
    let shared = SharedMut::new(&mut sums);
    parallel_pieces(x.cols(), COLS, |start, end| {
        // SAFETY: each task has its own columns.
        let sums = unsafe { shared.part(start, end) };
        add_rows(x.part(0, x.rows(), start, end - start), sums);
    });
    sums
}

multiversion! {
    fn add_rows<T: Element>(x: Rows<'_, T>, sums: &mut [f32]) = add_rows_body;
}

#[inline(always)]
fn add_rows_body<const FMA: bool, T: Element>(x: Rows<'_, T>, sums: &mut [f32]) {
    // In runs of rows, which keeps rounding small where many numbers cancel.
    for start in (0..x.rows()).step_by(RUN) {
        let end = (start + RUN).min(x.rows());
        let mut part = [0.0_f32; COLS];
        if sums.len() == COLS {
            // Kept in registers over the run.
            for row in start..end {
                let x = &x.row(row)[..COLS];
                for i in 0..COLS {
                    part[i] += x[i].to_f32();
                }
            }
        } else {
            for row in start..end {
                part.iter_mut().zip(x.row(row)).for_each(|(sum, x)| *sum += x.to_f32());
            }
        }
        sums.iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
    }
}

/// `sum += x`, in pieces over the threads.
pub(crate) fn add(sum: &mut [f32], x: &[f32]) {
    assert_eq!(sum.len(), x.len(), "lengths of a sum");
    let shared = SharedMut::new(sum);
    parallel_pieces(x.len(), 1 << 16, |start, end| {
        // SAFETY: each task has its own part.
        add_slice(unsafe { shared.part(start, end) }, &x[start..end]);
    });
}

multiversion! {
    fn add_slice(sum: &mut [f32], x: &[f32]) = add_slice_body;
}

#[inline(always)]
fn add_slice_body<const FMA: bool>(sum: &mut [f32], x: &[f32]) {
    sum.iter_mut().zip(x).for_each(|(sum, x)| *sum += x);
}
