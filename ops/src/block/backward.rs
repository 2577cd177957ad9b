use candle_core::{Result, Tensor};

use super::forward::{Block, Saved, SavedAttention, SavedMlp, qkv_bias};
use super::weights::{Affine, QkvBias};
use crate::activation::Activation;
use crate::attention::{self, Attend, Given};
use crate::backward::Collector;
use crate::buffer::unset;
use crate::element::Element;
use crate::gemm::{GeluBackward, RowScale, Store};
use crate::matrix::{Rows, RowsMut};
use crate::numbers::Numbers;
use crate::product::{through, weight_gradient};
use crate::rows::convert::column_sums;
use crate::rows::norm::{self, Moments};

/// The gradient of the block's input; its weights' gradients go to the collector. What was saved is freed as soon as it
/// has been used.
pub(super) fn backward<T: Attend>(
    x: &[f32],
    gradient: &[f32],
    block: &Block,
    saved: Saved<T>,
    collector: &Collector,
) -> Result<Vec<f32>> {
    let Saved { attention, middle, mlp } = saved;
    let pass = Pass { block, collector };
    let stream = pass.mlp(&middle, gradient, mlp)?;
    drop(middle);
    pass.attention(x, &stream, attention)
}

/// A backward pass through a block.
struct Pass<'a> {
    block: &'a Block,
    collector: &'a Collector,
}

impl Pass<'_> {
    /// Through the MLP's branch, whose input was `x`.
    fn mlp<T: Element>(&self, x: &[f32], gradient: &[f32], saved: SavedMlp<T>) -> Result<Vec<f32>> {
        let SavedMlp { moments, normed, before, after } = saved;
        let weights = &self.block.weights;
        let out = self.operand::<T>(gradient, self.block.scale(1));
        self.linear(&weights.fc2, out.rows(), after.rows());
        drop(after);
        let mut inner = Activation::<T>::unset(out.rows().rows(), weights.hidden());
        let epilogue = GeluBackward { before: before.rows(), out: inner.rows_mut() };
        through(&weights.fc2.weight, out.rows(), &epilogue)?;
        drop((out, before));
        self.linear(&weights.fc1, inner.rows(), normed.rows());
        drop(normed);
        let slope = self.stream(&weights.fc1.weight, inner.rows())?;
        drop(inner);
        self.norm(&weights.norm2, x, &moments, &slope, gradient)
    }

    /// Through attention's branch, whose input was `x`.
    fn attention<T: Attend>(
        &self,
        x: &[f32],
        gradient: &[f32],
        saved: SavedAttention<T>,
    ) -> Result<Vec<f32>> {
        let SavedAttention { moments, normed, qkv, log_sums, mixed } = saved;
        let Block { heads, weights, .. } = self.block;
        let (rows, dim) = (heads.rows(), heads.dim());
        let out = self.operand::<T>(gradient, self.block.scale(0));
        self.linear(&weights.proj, out.rows(), mixed.rows());
        let mut inner = Activation::<T>::unset(rows, dim);
        let store = Store { out: inner.rows_mut(), bias: None };
        through(&weights.proj.weight, out.rows(), &store)?;
        drop(out);
        let mut slopes = Activation::<T>::unset(rows, 3 * dim);
        let given = Given {
            qkv: qkv.rows(),
            out: mixed.rows(),
            log_sums: &log_sums,
            gradient: inner.rows(),
        };
        let grid = self.block.grid::<T>(&qkv_bias(&weights.qkv_bias, dim)?)?;
        let gathered = attention::backward(&given, *heads, grid.as_ref(), slopes.rows_mut());
        drop((inner, mixed, qkv, grid));
        if let Some(grid) = &weights.grid {
            grid.collect(&gathered.table, self.collector)?;
        }
        weight_gradient(self.collector, &weights.qkv, slopes.rows(), normed.rows());
        drop(normed);
        let mut sums = column_sums(slopes.rows());
        sums.iter_mut().zip(&gathered.padding).for_each(|(sum, x)| *sum += x);
        self.qkv_bias(&weights.qkv_bias, &sums);
        let slope = self.stream(&weights.qkv, slopes.rows())?;
        drop(slopes);
        self.norm(&weights.norm1, x, &moments, &slope, gradient)
    }

    /// A gradient of the residual stream as the operand of products.
    fn operand<T: Element>(&self, gradient: &[f32], scale: Option<RowScale<'_>>) -> Activation<T> {
        let (rows, dim) = (self.block.heads.rows(), self.block.heads.dim());
        Activation::of(Rows::dense(gradient, rows, dim), scale)
    }

    /// Collects the gradients of a linear layer's weight and bias.
    fn linear<T: Element>(&self, layer: &Affine, gradient: Rows<'_, T>, input: Rows<'_, T>) {
        weight_gradient(self.collector, &layer.weight, gradient, input);
        if layer.bias.is_variable() {
            self.collector.add_vector(&layer.bias, &column_sums(gradient));
        }
    }

    fn qkv_bias(&self, bias: &QkvBias, sums: &[f32]) {
        let dim = self.block.heads.dim();
        match bias {
            QkvBias::Full(bias) => self.collector.add_vector(bias, sums),
            QkvBias::NoKey { query, value } => {
                self.collector.add_vector(query, &sums[..dim]);
                self.collector.add_vector(value, &sums[2 * dim..]);
            }
        }
    }

    /// The gradient of a layer's input, as wide as the residual stream, in f32.
    fn stream<T: Element>(&self, weight: &Tensor, gradient: Rows<'_, T>) -> Result<Vec<f32>> {
        let (rows, dim) = (self.block.heads.rows(), self.block.heads.dim());
        let mut out = unset::<f32>(rows * dim);
        let store = Store { out: RowsMut::dense(&mut out, rows, dim), bias: None };
        through(weight, gradient, &store)?;
        Ok(out)
    }

    /// The gradient of a norm's input plus that of the branch around it; the norm's own are collected.
    fn norm(
        &self,
        norm: &Affine,
        x: &[f32],
        moments: &[Moments],
        gradient: &[f32],
        around: &[f32],
    ) -> Result<Vec<f32>> {
        let (rows, dim) = (self.block.heads.rows(), self.block.heads.dim());
        let mut out = unset::<f32>(rows * dim);
        let sums = norm::backward(
            Rows::dense(x, rows, dim),
            moments,
            &Numbers::of(&norm.weight)?,
            Rows::dense(gradient, rows, dim),
            Some(Rows::dense(around, rows, dim)),
            RowsMut::dense(&mut out, rows, dim),
        );
        self.collector.add_vector(&norm.weight, &sums.weight);
        self.collector.add_vector(&norm.bias, &sums.bias);
        Ok(out)
    }
}
