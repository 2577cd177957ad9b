use candle_core::{Result, Tensor};

use super::activation::Activation;
use super::forward::{Block, Saved, branch};
use super::weights::{Affine, QkvBias};
use crate::attention::{self, Attend, Given};
use crate::backward::Collector;
use crate::buffer::unset;
use crate::element::Element;
use crate::gemm::{GeluBackward, RowScale, Store, Straight, gemm};
use crate::matrix::{Rows, RowsMut};
use crate::numbers::Numbers;
use crate::product::weight_gradient;
use crate::rows::convert::{column_sums, convert};
use crate::rows::norm::{self, Moments};

/// The gradient of the block's input; its weights' gradients are collected.
pub(super) fn backward<T: Attend>(
    x: &[f32],
    gradient: &[f32],
    block: &Block,
    saved: Saved<T>,
    collector: &Collector,
) -> Result<Vec<f32>> {
    let Block { heads, weights, scales } = block;
    let (heads, scales) = (*heads, scales.as_ref());
    let (rows, dim, hidden) = (heads.rows(), heads.dim(), weights.hidden());
    let shape = Shape { rows, dim, collector };
    let Saved { moments1, normed1, qkv, log_sums, mixed, middle, moments2, normed2, before, after } =
        saved;

    // The MLP.
    let gradient = Rows::dense(gradient, rows, dim);
    let out = operand::<T>(gradient, branch(scales, 1, heads.tokens));
    linear_gradients(collector, &weights.fc2, out.rows(), after.rows());
    drop(after);
    let mut inner = Activation::<T>::unset(rows, hidden);
    let weight = Numbers::of(&weights.fc2.weight)?;
    let epilogue = GeluBackward { before: before.rows(), out: inner.rows_mut() };
    gemm(out.rows(), &Straight(Rows::dense(&weight, dim, hidden)), &epilogue);
    drop((out, before));
    linear_gradients(collector, &weights.fc1, inner.rows(), normed2.rows());
    drop(normed2);
    let normed = through(&weights.fc1.weight, inner.rows(), dim)?;
    drop(inner);
    let stream = shape.norm_backward(&weights.norm2, &middle, &moments2, &normed, gradient)?;
    drop((normed, middle));

    // Attention.
    let out = operand::<T>(Rows::dense(&stream, rows, dim), branch(scales, 0, heads.tokens));
    linear_gradients(collector, &weights.proj, out.rows(), mixed.rows());
    let mut inner = Activation::<T>::unset(rows, dim);
    let weight = Numbers::of(&weights.proj.weight)?;
    let store = Store { out: inner.rows_mut(), bias: None };
    gemm(out.rows(), &Straight(Rows::dense(&weight, dim, dim)), &store);
    drop(out);
    let mut qkv_gradient = Activation::<T>::unset(rows, 3 * dim);
    let given =
        Given { qkv: qkv.rows(), out: mixed.rows(), log_sums: &log_sums, gradient: inner.rows() };
    attention::backward(&given, heads, qkv_gradient.rows_mut());
    drop((inner, mixed, qkv));
    weight_gradient(collector, &weights.qkv, qkv_gradient.rows(), normed1.rows());
    drop(normed1);
    collect_qkv_bias(collector, &weights.qkv_bias, &column_sums(qkv_gradient.rows()), dim);
    let normed = through(&weights.qkv, qkv_gradient.rows(), dim)?;
    drop(qkv_gradient);
    shape.norm_backward(&weights.norm1, x, &moments1, &normed, Rows::dense(&stream, rows, dim))
}

/// A gradient of the residual stream as the operand of products.
fn operand<T: Element>(gradient: Rows<'_, f32>, scale: Option<RowScale<'_>>) -> Activation<T> {
    let mut out = Activation::unset(gradient.rows(), gradient.cols());
    convert(gradient, scale, out.rows_mut());
    out
}

/// Collects the gradients of a linear layer's weight and bias.
fn linear_gradients<T: Element>(
    collector: &Collector,
    layer: &Affine,
    gradient: Rows<'_, T>,
    input: Rows<'_, T>,
) {
    weight_gradient(collector, &layer.weight, gradient, input);
    if layer.bias.is_variable() {
        collector.add_vector(&layer.bias, &column_sums(gradient));
    }
}

/// The gradient of a linear layer's input, `dy W`, in f32.
fn through<T: Element>(weight: &Tensor, gradient: Rows<'_, T>, inputs: usize) -> Result<Vec<f32>> {
    let mut out = unset::<f32>(gradient.rows() * inputs);
    let store = Store { out: RowsMut::dense(&mut out, gradient.rows(), inputs), bias: None };
    let weight = Numbers::of(weight)?;
    gemm(gradient, &Straight(Rows::dense(&weight, gradient.cols(), inputs)), &store);
    Ok(out)
}

fn collect_qkv_bias(collector: &Collector, bias: &QkvBias, sums: &[f32], dim: usize) {
    match bias {
        QkvBias::Full(bias) => collector.add_vector(bias, sums),
        QkvBias::NoKey { query, value } => {
            collector.add_vector(query, &sums[..dim]);
            collector.add_vector(value, &sums[2 * dim..]);
        }
    }
}

/// Rows and width of the residual stream.
struct Shape<'a> {
    rows: usize,
    dim: usize,
    collector: &'a Collector,
}

impl Shape<'_> {
    /// The gradient of a norm's input plus that of the branch around it; the norm's own are collected.
    fn norm_backward(
        &self,
        norm: &Affine,
        x: &[f32],
        moments: &[Moments],
        gradient: &[f32],
        around: Rows<'_, f32>,
    ) -> Result<Vec<f32>> {
        let Self { rows, dim, collector } = *self;
        let mut out = unset::<f32>(rows * dim);
        let sums = norm::backward(
            Rows::dense(x, rows, dim),
            moments,
            &Numbers::of(&norm.weight)?,
            Rows::dense(gradient, rows, dim),
            Some(around),
            RowsMut::dense(&mut out, rows, dim),
        );
        collector.add_vector(&norm.weight, &sums.weight);
        collector.add_vector(&norm.bias, &sums.bias);
        Ok(out)
    }
}
