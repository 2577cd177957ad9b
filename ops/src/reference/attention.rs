use candle_core::{D, IndexOp, Result, Tensor};

use super::softmax;
use crate::block::resized;

/// Multi-head self-attention over packed queries, keys and values (arXiv 1706.03762), scores scaled by
/// `1 / sqrt(head width)`.
///
/// # Shapes
/// `qkv` `[batch, tokens, 3 * dim]`; the result is `[batch, tokens, dim]`, head after head.
///
/// # Errors
/// When the heads do not divide `dim`.
pub fn attention(qkv: &Tensor, heads: usize) -> Result<Tensor> {
    with_positions(qkv, heads, None)
}

/// [`attention`] over a grid of rows and columns of tokens, with decomposed relative positions (arXiv 2203.16527): a query's
/// score gets its product with `rel_pos_h` at its distance in rows, and with `rel_pos_w` at that in columns.
///
/// # Shapes
/// `rel_pos` `[2 * side - 1, head width]` each, `rel_pos_h` first; of other sizes they are resized linearly.
///
/// # Errors
/// When the shapes do not fit.
pub fn attention_with_positions(
    qkv: &Tensor,
    heads: usize,
    grid: (usize, usize),
    rel_pos: &[Tensor; 2],
) -> Result<Tensor> {
    with_positions(qkv, heads, Some((grid, rel_pos)))
}

type Positions<'a> = ((usize, usize), &'a [Tensor; 2]);

fn with_positions(qkv: &Tensor, heads: usize, positions: Option<Positions<'_>>) -> Result<Tensor> {
    let (batch, tokens, width) = qkv.dims3()?;
    let dim = width / 3;
    let head = dim / heads;
    let qkv = qkv.reshape((batch, tokens, 3, heads, head))?.permute((2, 0, 3, 1, 4))?;
    let plain = qkv.i(0)?.contiguous()?;
    let query = (&plain * (head as f64).powf(-0.5))?;
    let key = qkv.i(1)?.contiguous()?;
    let value = qkv.i(2)?.contiguous()?;
    let mut scores = query.matmul(&key.transpose(D::Minus2, D::Minus1)?)?;
    if let Some(((rows, cols), [of_rows, of_cols])) = positions {
        let query = plain.reshape((batch * heads, rows, cols, head))?;
        let by_row = products(&query, of_rows)?.reshape((batch, heads, tokens, rows, 1))?;
        let query = query.transpose(1, 2)?.contiguous()?;
        let by_col = products(&query, of_cols)?.transpose(1, 2)?.contiguous()?;
        let by_col = by_col.reshape((batch, heads, tokens, 1, cols))?;
        let added = by_row.broadcast_add(&by_col)?;
        scores = (scores + added.reshape((batch, heads, tokens, tokens))?)?;
    }
    let weights = softmax(&scores)?;
    weights.matmul(&value)?.transpose(1, 2)?.reshape((batch, tokens, dim))
}

/// Products of queries `[n, side, others, width]` with a table at the distances between two of the `side` lines: the result is
/// `[n, side, others, side]`.
fn products(query: &Tensor, table: &Tensor) -> Result<Tensor> {
    let (n, side, others, width) = query.dims4()?;
    let (from, to) = (table.dim(0)?, 2 * side - 1);
    let mut resize = vec![0.0_f32; to * from];
    // The largest distance comes first there.
    for (i, taps) in resized(from, to).into_iter().rev().enumerate() {
        taps.into_iter().for_each(|(row, weight)| resize[i * from + row] += weight);
    }
    let resize = Tensor::from_vec(resize, (to, from), table.device())?.to_dtype(table.dtype())?;
    let table = resize.matmul(table)?;
    let place = |query: usize, key: usize| (query + side - 1 - key) as u32;
    let places: Vec<u32> = (0..side * side).map(|i| place(i / side, i % side)).collect();
    let places = Tensor::from_vec(places, side * side, table.device())?;
    let by_pair = table.index_select(&places, 0)?.reshape((side, side, width))?;
    let query = query.transpose(0, 1)?.contiguous()?.reshape((side, n * others, width))?;
    let all = query.matmul(&by_pair.transpose(1, 2)?.contiguous()?)?;
    all.reshape((side, n, others, side))?.transpose(0, 1)?.contiguous()
}
