use candle_core::Result;

use super::activation::Activation;
use super::weights::{BlockWeights, QkvBias};
use crate::attention::{self, Attend, Heads};
use crate::buffer::unset;
use crate::gemm::{Gelu, Residual, RowScale, Store, Transposed, gemm};
use crate::matrix::{Rows, RowsMut};
use crate::numbers::Numbers;
use crate::rows::norm::{self, Moments};

/// What the backward pass needs of the forward pass, beside the block's input.
pub(super) struct Saved<T> {
    /// Moments of the first norm's rows, and what it gave.
    pub moments1: Vec<Moments>,
    pub normed1: Activation<T>,
    pub qkv: Activation<T>,
    /// Log-sum-exp of the scores' rows.
    pub log_sums: Vec<f32>,
    /// What attention gave, before the projection.
    pub mixed: Activation<T>,
    /// The residual stream between attention and MLP.
    pub middle: Vec<f32>,
    pub moments2: Vec<Moments>,
    pub normed2: Activation<T>,
    /// The MLP's hidden layer before and after GELU.
    pub before: Activation<T>,
    pub after: Activation<T>,
}

/// Scales of the two residual branches, one for each sample (drop path).
pub(super) type Scales = [Vec<f32>; 2];

/// What a block computes with.
pub(super) struct Block {
    pub heads: Heads,
    pub weights: BlockWeights,
    pub scales: Option<Scales>,
}

/// A branch's scales for rows of `tokens` a sample.
pub(super) fn branch(
    scales: Option<&Scales>,
    branch: usize,
    tokens: usize,
) -> Option<RowScale<'_>> {
    scales.map(|scales| RowScale { scales: &scales[branch], rows: tokens })
}

/// The block's output, and what a backward pass needs if `keep`.
pub(super) fn forward<T: Attend>(
    x: &[f32],
    block: &Block,
    keep: bool,
) -> Result<(Vec<f32>, Option<Saved<T>>)> {
    let Block { heads, weights, scales } = block;
    let (heads, scales) = (*heads, scales.as_ref());
    let (rows, dim, hidden) = (heads.rows(), heads.dim(), weights.hidden());
    let stream = Rows::dense(x, rows, dim);
    let eps = weights.eps as f32;

    let mut normed1 = Activation::<T>::unset(rows, dim);
    let norm = (&weights.norm1.weight, &weights.norm1.bias);
    let moments1 = norm::forward(
        stream,
        &Numbers::of(norm.0)?,
        &Numbers::of(norm.1)?,
        eps,
        normed1.rows_mut(),
    );
    let mut qkv = Activation::<T>::unset(rows, 3 * dim);
    let weight = Numbers::of(&weights.qkv)?;
    let bias = qkv_bias(&weights.qkv_bias, dim)?;
    let store = Store { out: qkv.rows_mut(), bias: Some(&bias) };
    gemm(normed1.rows(), &Transposed(Rows::dense(&weight, 3 * dim, dim)), &store);
    let normed1 = keep.then_some(normed1);
    let mut mixed = Activation::<T>::unset(rows, dim);
    let log_sums = attention::forward(qkv.rows(), heads, mixed.rows_mut());
    let qkv = keep.then_some(qkv);
    let mut middle = unset::<f32>(rows * dim);
    let (weight, bias) = (Numbers::of(&weights.proj.weight)?, Numbers::of(&weights.proj.bias)?);
    let residual = Residual {
        out: RowsMut::dense(&mut middle, rows, dim),
        bias: Some(&bias),
        residual: stream,
        scale: branch(scales, 0, heads.tokens),
    };
    gemm(mixed.rows(), &Transposed(Rows::dense(&weight, dim, dim)), &residual);
    let mixed = keep.then_some(mixed);

    let stream = Rows::dense(&middle, rows, dim);
    let mut normed2 = Activation::<T>::unset(rows, dim);
    let norm = (&weights.norm2.weight, &weights.norm2.bias);
    let moments2 = norm::forward(
        stream,
        &Numbers::of(norm.0)?,
        &Numbers::of(norm.1)?,
        eps,
        normed2.rows_mut(),
    );
    let mut before = keep.then(|| Activation::<T>::unset(rows, hidden));
    let mut after = Activation::<T>::unset(rows, hidden);
    let (weight, bias) = (Numbers::of(&weights.fc1.weight)?, Numbers::of(&weights.fc1.bias)?);
    let gelu = Gelu {
        before: before.as_mut().map(Activation::rows_mut),
        after: after.rows_mut(),
        bias: Some(&bias),
    };
    gemm(normed2.rows(), &Transposed(Rows::dense(&weight, hidden, dim)), &gelu);
    let normed2 = keep.then_some(normed2);
    let mut out = unset::<f32>(rows * dim);
    let (weight, bias) = (Numbers::of(&weights.fc2.weight)?, Numbers::of(&weights.fc2.bias)?);
    let residual = Residual {
        out: RowsMut::dense(&mut out, rows, dim),
        bias: Some(&bias),
        residual: stream,
        scale: branch(scales, 1, heads.tokens),
    };
    gemm(after.rows(), &Transposed(Rows::dense(&weight, dim, hidden)), &residual);

    let saved = match (normed1, qkv, mixed, normed2, before) {
        (Some(normed1), Some(qkv), Some(mixed), Some(normed2), Some(before)) => Some(Saved {
            moments1,
            normed1,
            qkv,
            log_sums,
            mixed,
            middle,
            moments2,
            normed2,
            before,
            after,
        }),
        _ => None,
    };
    Ok((out, saved))
}

/// The bias of queries, keys and values in one piece.
fn qkv_bias(bias: &QkvBias, dim: usize) -> Result<Vec<f32>> {
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
