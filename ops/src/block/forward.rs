use candle_core::Result;

use super::weights::{Affine, BlockWeights, QkvBias};
use crate::activation::Activation;
use crate::attention::{self, Attend, Grid, Heads};
use crate::buffer::unset;
use crate::element::Element;
use crate::gemm::{Gelu, Residual, RowScale, Store, Transposed, gemm};
use crate::matrix::{Rows, RowsMut};
use crate::numbers::Numbers;
use crate::rows::norm::{self, Moments};

/// Scales of the two residual branches, one for each sample (drop path).
pub(super) type Scales = [Vec<f32>; 2];

/// What a block computes with.
pub(super) struct Block {
    pub heads: Heads,
    pub weights: BlockWeights,
    pub scales: Option<Scales>,
}

impl Block {
    /// A branch's scales by row.
    pub fn scale(&self, branch: usize) -> Option<RowScale<'_>> {
        let rows = self.heads.tokens;
        self.scales.as_ref().map(|scales| RowScale { scales: &scales[branch], rows })
    }

    /// What attention takes of a grid; `bias` is that of queries, keys and values.
    pub fn grid<T: Element>(&self, bias: &[f32]) -> Result<Option<Grid<T>>> {
        let grid = self.weights.grid.as_ref();
        grid.map(|grid| grid.prepare(self.heads, bias)).transpose()
    }
}

/// What the backward pass needs of the forward pass, beside the block's input.
pub(super) struct Saved<T> {
    pub attention: SavedAttention<T>,
    /// The residual stream between attention and MLP.
    pub middle: Vec<f32>,
    pub mlp: SavedMlp<T>,
}

pub(super) struct SavedAttention<T> {
    /// Moments of the norm's rows, and what it gave.
    pub moments: Vec<Moments>,
    pub normed: Activation<T>,
    pub qkv: Activation<T>,
    /// Log-sum-exp of the scores' rows.
    pub log_sums: Vec<f32>,
    /// What attention gave, before the projection.
    pub mixed: Activation<T>,
}

pub(super) struct SavedMlp<T> {
    pub moments: Vec<Moments>,
    pub normed: Activation<T>,
    /// The hidden layer before and after GELU.
    pub before: Activation<T>,
    pub after: Activation<T>,
}

/// The block's output, and what a backward pass needs if `keep`.
pub(super) fn forward<T: Attend>(
    x: &[f32],
    block: &Block,
    keep: bool,
) -> Result<(Vec<f32>, Option<Saved<T>>)> {
    let (middle, attention) = attention_branch::<T>(x, block, keep)?;
    let (out, mlp) = mlp_branch::<T>(&middle, block, keep)?;
    let saved = attention.zip(mlp).map(|(attention, mlp)| Saved { attention, middle, mlp });
    Ok((out, saved))
}

/// `x + proj(attention(qkv(norm1(x))))`.
fn attention_branch<T: Attend>(
    x: &[f32],
    block: &Block,
    keep: bool,
) -> Result<(Vec<f32>, Option<SavedAttention<T>>)> {
    let Block { heads, weights, .. } = block;
    let (rows, dim) = (heads.rows(), heads.dim());
    let (normed, moments) =
        normalised::<T>(Rows::dense(x, rows, dim), &weights.norm1, weights.eps)?;
    let mut qkv = Activation::<T>::unset(rows, 3 * dim);
    let weight = Numbers::of(&weights.qkv)?;
    let bias = qkv_bias(&weights.qkv_bias, dim)?;
    let store = Store { out: qkv.rows_mut(), bias: Some(&bias) };
    gemm(normed.rows(), &Transposed(Rows::dense(&weight, 3 * dim, dim)), &store);
    let normed = keep.then_some(normed);
    let grid = block.grid::<T>(&bias)?;
    let mut mixed = Activation::<T>::unset(rows, dim);
    let log_sums = attention::forward(qkv.rows(), *heads, grid.as_ref(), mixed.rows_mut());
    let qkv = keep.then_some(qkv);
    let out = residual(x, &mixed, &weights.proj, block.scale(0))?;
    let saved = normed.zip(qkv).map(|(normed, qkv)| SavedAttention {
        moments,
        normed,
        qkv,
        log_sums,
        mixed,
    });
    Ok((out, saved))
}

/// `x + fc2(gelu(fc1(norm2(x))))`.
fn mlp_branch<T: Element>(
    x: &[f32],
    block: &Block,
    keep: bool,
) -> Result<(Vec<f32>, Option<SavedMlp<T>>)> {
    let Block { heads, weights, .. } = block;
    let (rows, dim, hidden) = (heads.rows(), heads.dim(), weights.hidden());
    let (normed, moments) =
        normalised::<T>(Rows::dense(x, rows, dim), &weights.norm2, weights.eps)?;
    let mut before = keep.then(|| Activation::<T>::unset(rows, hidden));
    let mut after = Activation::<T>::unset(rows, hidden);
    let (weight, bias) = (Numbers::of(&weights.fc1.weight)?, Numbers::of(&weights.fc1.bias)?);
    let gelu = Gelu {
        before: before.as_mut().map(Activation::rows_mut),
        after: after.rows_mut(),
        bias: Some(&bias),
    };
    gemm(normed.rows(), &Transposed(Rows::dense(&weight, hidden, dim)), &gelu);
    let normed = keep.then_some(normed);
    let out = residual(x, &after, &weights.fc2, block.scale(1))?;
    let saved =
        normed.zip(before).map(|(normed, before)| SavedMlp { moments, normed, before, after });
    Ok((out, saved))
}

/// A norm of the residual stream, in the precision of the products.
fn normalised<T: Element>(
    x: Rows<'_, f32>,
    norm: &Affine,
    eps: f64,
) -> Result<(Activation<T>, Vec<Moments>)> {
    let mut out = Activation::unset(x.rows(), x.cols());
    let (weight, bias) = (Numbers::of(&norm.weight)?, Numbers::of(&norm.bias)?);
    let moments = norm::forward(x, &weight, &bias, eps as f32, out.rows_mut());
    Ok((out, moments))
}

/// `x + scale layer(inner)`.
fn residual<T: Element>(
    x: &[f32],
    inner: &Activation<T>,
    layer: &Affine,
    scale: Option<RowScale<'_>>,
) -> Result<Vec<f32>> {
    let inner = inner.rows();
    let (outputs, inputs) = layer.weight.dims2()?;
    let mut out = unset::<f32>(inner.rows() * outputs);
    let (weight, bias) = (Numbers::of(&layer.weight)?, Numbers::of(&layer.bias)?);
    let residual = Residual {
        out: RowsMut::dense(&mut out, inner.rows(), outputs),
        bias: Some(&bias),
        residual: Rows::dense(x, inner.rows(), outputs),
        scale,
    };
    gemm(inner, &Transposed(Rows::dense(&weight, outputs, inputs)), &residual);
    Ok(out)
}

/// The bias of queries, keys and values in one piece.
pub(super) fn qkv_bias(bias: &QkvBias, dim: usize) -> Result<Vec<f32>> {
    Ok(match bias {
        QkvBias::Full(bias) => Numbers::of(bias)?.to_vec(),
        QkvBias::NoKey { query, value } => {
            let mut all = Numbers::of(query)?.to_vec();
            all.resize(2 * dim, 0.0);
            all.extend_from_slice(&Numbers::of(value)?);
            all
        }
    })
}
