//! Layer norm (arXiv 1607.06450), with the biased variance, as PyTorch.

use super::math::fma;
use super::sums::{dot, dot_about, mean_and_squares};
use crate::buffer::unset;
use crate::element::Element;
use crate::isa::multiversion;
use crate::matrix::{Rows, RowsMut, SharedMut};
use crate::parallel::parallel_pieces;

/// Rows that a task normalises. Sums over rows are made a piece at a time, so this must not depend on the threads.
const PIECE: usize = 32;

/// What the backward pass needs of a row: its mean and the reciprocal of its standard deviation.
pub(crate) type Moments = [f32; 2];

/// `out = (x - mean) / sqrt(var + eps) * weight + bias`, and each row's moments.
pub(crate) fn forward<T: Element>(
    x: Rows<'_, f32>,
    weight: &[f32],
    bias: &[f32],
    eps: f32,
    out: RowsMut<'_, T>,
) -> Vec<Moments> {
    let cols = x.cols();
    assert!(
        weight.len() == cols && bias.len() == cols && out.cols() == cols && out.rows() == x.rows()
    );
    let mut moments = vec![[0.0; 2]; x.rows()];
    let pieces = SharedMut::new(&mut moments);
    parallel_pieces(x.rows(), PIECE, |start, end| {
        // SAFETY: each task has its own rows.
        let moments = unsafe { pieces.part(start, end) };
        normalise(
            x.part(start, end - start, 0, cols),
            weight,
            bias,
            eps,
            out.part(start, end - start, 0, cols),
            moments,
        );
    });
    moments
}

multiversion! {
    fn normalise<T: Element>(
        x: Rows<'_, f32>, weight: &[f32], bias: &[f32], eps: f32, out: RowsMut<'_, T>, moments: &mut [Moments]
    ) = normalise_body;
}

#[inline(always)]
fn normalise_body<const FMA: bool, T: Element>(
    x: Rows<'_, f32>,
    weight: &[f32],
    bias: &[f32],
    eps: f32,
    out: RowsMut<'_, T>,
    moments: &mut [Moments],
) {
    let cols = x.cols();
    for (row, moments) in moments.iter_mut().enumerate() {
        let x = x.row(row);
        let (mean, squares) = mean_and_squares(x);
        let scale = 1.0 / (squares / cols as f32 + eps).sqrt();
        *moments = [mean, scale];
        // SAFETY: a piece's rows are this task's alone.
        let out = unsafe { out.row(row, 0, cols) };
        for (((out, x), weight), bias) in out.iter_mut().zip(x).zip(weight).zip(bias) {
            *out = T::from_f32(fma::<FMA>((x - mean) * scale, *weight, *bias));
        }
    }
}

/// Gradients of weight and bias, summed over rows.
pub(crate) struct ParameterGradients {
    pub weight: Vec<f32>,
    pub bias: Vec<f32>,
}

/// `dx = norm'(dy) + residual`, and the gradients of weight and bias.
pub(crate) fn backward(
    x: Rows<'_, f32>,
    moments: &[Moments],
    weight: &[f32],
    dy: Rows<'_, f32>,
    residual: Option<Rows<'_, f32>>,
    dx: RowsMut<'_, f32>,
) -> ParameterGradients {
    let cols = x.cols();
    assert!(weight.len() == cols && moments.len() == x.rows());
    assert!(
        dy.rows() == x.rows() && dy.cols() == cols && dx.rows() == x.rows() && dx.cols() == cols
    );
    let pieces = x.rows().div_ceil(PIECE);
    let mut partial = unset::<f32>(pieces * 2 * cols);
    let shared = SharedMut::new(&mut partial);
    parallel_pieces(x.rows(), PIECE, |start, end| {
        let piece = start / PIECE;
        // SAFETY: each task has its own part.
        let sums = unsafe { shared.part(piece * 2 * cols, (piece + 1) * 2 * cols) };
        let residual = residual.map(|r| r.part(start, end - start, 0, cols));
        let dx = dx.part(start, end - start, 0, cols);
        slope(
            x.part(start, end - start, 0, cols),
            &moments[start..end],
            weight,
            dy.part(start, end - start, 0, cols),
            residual,
            dx,
            sums,
        );
    });
    let mut sums = vec![0.0; 2 * cols];
    for piece in partial.chunks_exact(2 * cols.max(1)) {
        sums.iter_mut().zip(piece).for_each(|(sum, x)| *sum += x);
    }
    let bias = sums.split_off(cols);
    ParameterGradients { weight: sums, bias }
}

multiversion! {
    fn slope(
        x: Rows<'_, f32>, moments: &[Moments], weight: &[f32], dy: Rows<'_, f32>, residual: Option<Rows<'_, f32>>,
        dx: RowsMut<'_, f32>, sums: &mut [f32]
    ) = slope_body;
}

#[inline(always)]
fn slope_body<const FMA: bool>(
    x: Rows<'_, f32>,
    moments: &[Moments],
    weight: &[f32],
    dy: Rows<'_, f32>,
    residual: Option<Rows<'_, f32>>,
    dx: RowsMut<'_, f32>,
    sums: &mut [f32],
) {
    let cols = x.cols();
    sums.fill(0.0);
    let (weight_sums, bias_sums) = sums.split_at_mut(cols);
    let (weight_sums, bias_sums) = (&mut weight_sums[..cols], &mut bias_sums[..cols]);
    let weight = &weight[..cols];
    for (row, [mean, scale]) in moments.iter().copied().enumerate() {
        let (x, dy) = (&x.row(row)[..cols], &dy.row(row)[..cols]);
        for i in 0..cols {
            weight_sums[i] = fma::<FMA>(dy[i], (x[i] - mean) * scale, weight_sums[i]);
            bias_sums[i] += dy[i];
        }
        let plain = dot(dy, weight) / cols as f32;
        let along = dot_about(dy, weight, x, mean) * scale / cols as f32;
        // SAFETY: a piece's rows are this task's alone.
        let dx = &mut unsafe { dx.row(row, 0, cols) }[..cols];
        for i in 0..cols {
            let normalised = (x[i] - mean) * scale;
            dx[i] = scale * (dy[i] * weight[i] - plain - normalised * along);
        }
        if let Some(residual) = residual {
            let residual = &residual.row(row)[..cols];
            for i in 0..cols {
                dx[i] += residual[i];
            }
        }
    }
}
