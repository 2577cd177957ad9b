use candle_core::{D, IndexOp, Result, Tensor};

use super::softmax;

/// Multi-head self-attention over packed queries, keys and values (arXiv 1706.03762), scores scaled by
/// `1 / sqrt(head width)`.
///
/// # Shapes
/// `qkv` `[batch, tokens, 3 * dim]`; the result is `[batch, tokens, dim]`, head after head.
///
/// # Errors
/// When the heads do not divide `dim`.
pub fn attention(qkv: &Tensor, heads: usize) -> Result<Tensor> {
    let (batch, tokens, width) = qkv.dims3()?;
    let dim = width / 3;
    let head = dim / heads;
    let qkv = qkv.reshape((batch, tokens, 3, heads, head))?.permute((2, 0, 3, 1, 4))?;
    let query = (qkv.i(0)? * (head as f64).powf(-0.5))?.contiguous()?;
    let key = qkv.i(1)?.contiguous()?;
    let value = qkv.i(2)?.contiguous()?;
    let weights = softmax(&query.matmul(&key.transpose(D::Minus2, D::Minus1)?)?)?;
    weights.matmul(&value)?.transpose(1, 2)?.reshape((batch, tokens, dim))
}
