use candle_core::{Result, Tensor};

/// Picks tokens by position, a different choice for every sample.
///
/// # Shapes
/// `tokens` `[batch, tokens, dim]`, `ids` `[batch, picked]` (u32, each below `tokens`); the result is
/// `[batch, picked, dim]`. Gradients reach `tokens`; a token that is picked twice gets the sum.
///
/// # Errors
/// When the shapes do not fit or an id lies outside the sequence.
pub fn gather_tokens(tokens: &Tensor, ids: &Tensor) -> Result<Tensor> {
    let (batch, length, dim) = tokens.dims3()?;
    let (_, picked) = ids.dims2()?;
    // One flat selection over all samples: row b*length + id.
    let first = (Tensor::arange(0, batch as u32, ids.device())? * length as f64)?;
    let rows = ids.broadcast_add(&first.reshape((batch, 1))?)?;
    tokens
        .contiguous()?
        .reshape((batch * length, dim))?
        .index_select(&rows.flatten_all()?, 0)?
        .reshape((batch, picked, dim))
}
