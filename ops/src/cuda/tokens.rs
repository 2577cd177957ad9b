//! Choosing and ordering tokens. Ids are not read back to be looked at: one beyond its sequence gives a row of NaN.

use candle_core::{DType, Result, Tensor, bail};

use super::kernel::Argument::Address;
use super::kernel::{Argument, Geometry, launch};
use super::place::Place;
use super::primitives::finish;
use super::tensors::{address, address_or_null};
use crate::device::node;

/// Threads of a block that has a row.
const THREADS: usize = 128;

fn rows(rows: usize, batch: usize) -> Geometry {
    Geometry { grid: (rows, batch, 1), threads: THREADS }
}

fn check_ids(ids: &Tensor, expected: [usize; 2]) -> Result<Tensor> {
    if ids.dims() != expected || ids.dtype() != DType::U32 {
        bail!("ids of shape {:?} and {:?}, expected {expected:?} and U32", ids.dims(), ids.dtype());
    }
    ids.contiguous()
}

/// As [`gather_tokens`](crate::gather_tokens).
pub(crate) fn gather_tokens(tokens: &Tensor, ids: &Tensor) -> Result<Tensor> {
    let (batch, length, dim) = tokens.dims3()?;
    let picked = ids.dim(1)?;
    let ids = check_ids(ids, [batch, picked])?;
    let values = tokens.contiguous()?.detach();
    let value = gather("gather_forward", &values, &ids, (batch, length, picked, dim))?;
    node("gather-tokens", &[tokens], value, move |gradient| {
        Ok(vec![Some(gather("gather_backward", gradient, &ids, (batch, length, picked, dim))?)])
    })
}

/// Picked tokens, or by the other kernel the gradient of all.
fn gather(
    name: &str,
    from: &Tensor,
    ids: &Tensor,
    (batch, length, picked, dim): (usize, usize, usize, usize),
) -> Result<Tensor> {
    let place = Place::of(from)?;
    let count = if name == "gather_forward" { picked } else { length };
    let out = place.unset((batch, count, dim), DType::F32)?;
    let arguments = [
        Address(address(from, DType::F32)?),
        Address(address(ids, DType::U32)?),
        Address(address(&out, DType::F32)?),
        Argument::int(batch)?,
        Argument::int(length)?,
        Argument::int(picked)?,
        Argument::int(dim)?,
    ];
    // SAFETY: `gather_forward(tokens, ids, out, batch, length, picked, dim)`, `gather_backward(dy, ids, dx, ..)`, of these
    // sizes.
    unsafe { launch(&place, name, rows(count, batch), &arguments)? };
    Ok(out)
}

/// As [`prepend_class`](crate::prepend_class), whose shapes were checked.
pub(crate) fn prepend_class(
    patches: &Tensor,
    class: &Tensor,
    positions: &Tensor,
    ids: Option<&Tensor>,
) -> Result<Tensor> {
    let (batch, kept, dim) = patches.dims3()?;
    let rows = positions.dim(1)?;
    let ids = ids.map(|ids| check_ids(ids, [batch, kept])).transpose()?;
    let sizes = [batch, kept, rows, dim];
    let value = prepended(patches, class, positions, ids.as_ref(), sizes)?;
    let (of_positions, of_class) = (positions.track_op(), class.shape().clone());
    let shape = positions.shape().clone();
    node("prepend-class", &[patches, class, positions], value, move |gradient| {
        let own = gradient.narrow(1, 1, kept)?.contiguous()?;
        // A class token's gradient is that of its position.
        let lines = if of_positions { rows } else { 1 };
        let summed = of_rows(gradient, ids.as_ref(), lines, sizes)?;
        let class = summed.narrow(0, 0, 1)?.reshape(&of_class)?;
        let positions = of_positions.then(|| summed.reshape(&shape)).transpose()?;
        Ok(vec![Some(own), Some(class), positions])
    })
}

fn prepended(
    patches: &Tensor,
    class: &Tensor,
    positions: &Tensor,
    ids: Option<&Tensor>,
    [batch, kept, lines, dim]: [usize; 4],
) -> Result<Tensor> {
    let place = Place::of(patches)?;
    let out = place.unset((batch, kept + 1, dim), DType::F32)?;
    let (patches, class) = (patches.contiguous()?, class.contiguous()?);
    let positions = positions.contiguous()?;
    let arguments = [
        Address(address(&patches, DType::F32)?),
        Address(address(&class, DType::F32)?),
        Address(address(&positions, DType::F32)?),
        Address(address_or_null(ids, DType::U32)?),
        Address(address(&out, DType::F32)?),
        Argument::int(batch)?,
        Argument::int(kept)?,
        Argument::int(lines)?,
        Argument::int(dim)?,
    ];
    // SAFETY: `prepend_forward(patches, cls, positions, ids, out, batch, kept, rows, dim)`, of these sizes.
    unsafe { launch(&place, "prepend_forward", rows(kept + 1, batch), &arguments)? };
    Ok(out)
}

/// The gradients of the first `lines` positions, `[lines, dim]`.
fn of_rows(
    gradient: &Tensor,
    ids: Option<&Tensor>,
    lines: usize,
    [batch, kept, rows, dim]: [usize; 4],
) -> Result<Tensor> {
    let place = Place::of(gradient)?;
    let out = place.unset((lines, dim), DType::F32)?;
    let arguments = [
        Address(address(gradient, DType::F32)?),
        Address(address_or_null(ids, DType::U32)?),
        Address(address(&out, DType::F32)?),
        Argument::int(batch)?,
        Argument::int(kept)?,
        Argument::int(rows)?,
        Argument::int(dim)?,
    ];
    // SAFETY: `prepend_positions_backward(dy, ids, dpositions, batch, kept, rows, dim)`, of these sizes; a block writes one row.
    unsafe {
        launch(&place, "prepend_positions_backward", Geometry::blocks(lines, THREADS), &arguments)?;
    }
    Ok(out)
}

/// As [`restore_tokens`](crate::restore_tokens), whose shapes were checked.
pub(crate) fn restore_tokens(
    visible: &Tensor,
    mask_token: &Tensor,
    restore: &Tensor,
    positions: Option<&Tensor>,
) -> Result<Tensor> {
    let (batch, own, dim) = visible.dims3()?;
    let patches = restore.dim(1)?;
    let ids = check_ids(restore, [batch, patches])?;
    let sizes = [batch, own - 1, patches, dim];
    let value = restored(visible, mask_token, &ids, positions, sizes)?;
    let shape = mask_token.shape().clone();
    node("restore-tokens", &[visible, mask_token], value, move |gradient| {
        let (of_visible, of_mask_token) = restored_backward(gradient, &ids, sizes)?;
        Ok(vec![Some(of_visible), Some(of_mask_token.reshape(&shape)?)])
    })
}

fn restored(
    visible: &Tensor,
    mask_token: &Tensor,
    ids: &Tensor,
    positions: Option<&Tensor>,
    [batch, kept, patches, dim]: [usize; 4],
) -> Result<Tensor> {
    let place = Place::of(visible)?;
    let out = place.unset((batch, patches + 1, dim), DType::F32)?;
    let (visible, mask_token) = (visible.contiguous()?, mask_token.contiguous()?);
    let positions = positions.map(Tensor::contiguous).transpose()?;
    let arguments = [
        Address(address(&visible, DType::F32)?),
        Address(address(&mask_token, DType::F32)?),
        Address(address(ids, DType::U32)?),
        Address(address_or_null(positions.as_ref(), DType::F32)?),
        Address(address(&out, DType::F32)?),
        Argument::int(batch)?,
        Argument::int(kept)?,
        Argument::int(patches)?,
        Argument::int(dim)?,
    ];
    // SAFETY: `restore_forward(visible, mask_token, ids_restore, positions, out, batch, kept, patches, dim)`, of these sizes.
    unsafe { launch(&place, "restore_forward", rows(patches + 1, batch), &arguments)? };
    Ok(out)
}

/// The gradients of the visible tokens, and of the mask token.
fn restored_backward(
    gradient: &Tensor,
    ids: &Tensor,
    [batch, kept, patches, dim]: [usize; 4],
) -> Result<(Tensor, Tensor)> {
    let place = Place::of(gradient)?;
    let own = place.unset((batch, kept + 1, dim), DType::F32)?;
    let partial = place.unset((batch, dim), DType::F32)?;
    let arguments = [
        Address(address(gradient, DType::F32)?),
        Address(address(ids, DType::U32)?),
        Address(address(&own, DType::F32)?),
        Address(address(&partial, DType::F32)?),
        Argument::int(batch)?,
        Argument::int(kept)?,
        Argument::int(patches)?,
        Argument::int(dim)?,
    ];
    // The blocks behind those of the visible rows have 32 columns of the mask token each.
    let geometry = rows(kept + 1 + dim.div_ceil(32), batch);
    // SAFETY: `restore_backward(dy, ids_restore, dvisible, mask_partial, batch, kept, patches, dim)`, of these sizes.
    unsafe { launch(&place, "restore_backward", geometry, &arguments)? };
    Ok((own, finish(&partial, &place)?))
}
