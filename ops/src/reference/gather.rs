use candle_core::{IndexOp, Result, Tensor};

use crate::gather::check_ids;

/// Picks tokens by position: see [`gather_tokens`](crate::gather_tokens).
///
/// # Errors
/// When the shapes do not fit or an id lies outside the sequence.
pub fn gather_tokens(tokens: &Tensor, ids: &Tensor) -> Result<Tensor> {
    let (batch, length, dim) = tokens.dims3()?;
    let (picked, _) = check_ids(ids, batch, length)?;
    if picked == 0 {
        return tokens.narrow(1, 0, 0);
    }
    // One flat selection over all samples: row b*length + id.
    let first = (Tensor::arange(0, batch as u32, ids.device())? * length as f64)?;
    let rows = ids.broadcast_add(&first.reshape((batch, 1))?)?;
    tokens
        .contiguous()?
        .reshape((batch * length, dim))?
        .index_select(&rows.flatten_all()?, 0)?
        .reshape((batch, picked, dim))
}

/// Adds positions and puts a class token in front: see [`prepend_class`](crate::prepend_class).
///
/// # Errors
/// When the shapes do not fit or an id lies outside the sequence.
pub fn prepend_class(
    patches: &Tensor,
    class: &Tensor,
    positions: &Tensor,
    ids: Option<&Tensor>,
) -> Result<Tensor> {
    let (batch, kept, dim) = patches.dims3()?;
    let own = positions.i((.., 1..))?;
    let own = match ids {
        Some(ids) => {
            own.squeeze(0)?.index_select(&ids.flatten_all()?, 0)?.reshape((batch, kept, dim))?
        }
        None => own,
    };
    let class = (class + positions.i((.., ..1))?)?.broadcast_as((batch, 1, dim))?;
    Tensor::cat(&[&class, &patches.broadcast_add(&own)?], 1)
}

/// Puts mask tokens behind the visible ones and all in the image's order: see
/// [`restore_tokens`](crate::restore_tokens).
///
/// # Errors
/// When the shapes do not fit or an id lies outside the sequence.
pub fn restore_tokens(
    visible: &Tensor,
    mask_token: &Tensor,
    restore: &Tensor,
    positions: Option<&Tensor>,
) -> Result<Tensor> {
    let (batch, rows, dim) = visible.dims3()?;
    let hidden = restore.dim(1)?.saturating_sub(rows - 1);
    let fill = mask_token.broadcast_as((batch, hidden, dim))?;
    let shuffled = Tensor::cat(&[&visible.i((.., 1..))?, &fill], 1)?;
    let ordered = gather_tokens(&shuffled, restore)?;
    let all = Tensor::cat(&[&visible.i((.., ..1))?, &ordered], 1)?;
    match positions {
        Some(positions) => all.broadcast_add(positions),
        None => Ok(all),
    }
}
