//! Position embeddings: fixed 2-D sin-cos, and resizing to another grid.

use candle_core::{Device, IndexOp, Tensor};

use crate::resample::{LineMatrix, computing_type};
use crate::{Error, PatchGrid, Resample, Result};

/// The fixed 2-D sin-cos embedding of MAE (arXiv 2111.06377, reference implementation), with a zero row for the class token in front.
///
/// The first half of the channels encodes the column (x), the second the row (y); in each half sines come
/// before cosines, of frequencies `10000^(-2i/half)`.
///
/// # Shapes
/// `[1, 1 + rows * cols, dim]`, f32.
///
/// # Errors
/// When `dim` is not divisible by 4.
pub fn sincos_positions(dim: usize, grid: PatchGrid, device: &Device) -> Result<Tensor> {
    if dim == 0 || !dim.is_multiple_of(4) {
        return Err(Error::PositionWidth(dim));
    }
    let quarter = dim / 4;
    let angle = |place: usize, i: usize| place as f64 / 10000f64.powf(i as f64 / quarter as f64);
    let mut values = vec![0f32; dim];
    for row in 0..grid.rows() {
        for col in 0..grid.cols() {
            for place in [col, row] {
                values.extend((0..quarter).map(|i| angle(place, i).sin() as f32));
                values.extend((0..quarter).map(|i| angle(place, i).cos() as f32));
            }
        }
    }
    Ok(Tensor::from_vec(values, (1, 1 + grid.len(), dim), device)?)
}

/// Resizes a position embedding to another grid. The class token's row is kept. Computed in f32 (or f64), given in the
/// type of `positions`.
///
/// Resizing is linear, so it is done by two matrices, one a side, and stays differentiable.
///
/// # Shapes
/// `positions` `[1, 1 + from.len(), dim]`; the result is `[1, 1 + to.len(), dim]`.
///
/// # Errors
/// When `positions` is not of the grid `from`.
pub fn resize_positions(
    positions: &Tensor,
    from: PatchGrid,
    to: PatchGrid,
    how: Resample,
) -> Result<Tensor> {
    let dim = match *positions.dims() {
        [1, length, dim] if length == 1 + from.len() => dim,
        _ => {
            return Err(Error::PositionShape {
                found: positions.dims().to_vec(),
                expected: 1 + from.len(),
                rows: from.rows(),
                cols: from.cols(),
            });
        }
    };
    let computing = computing_type(positions.dtype());
    let line = |from, to| LineMatrix::new(from, to, how).tensor(computing, positions.device());
    let (tall, wide) = (line(from.rows(), to.rows())?, line(from.cols(), to.cols())?);
    let rows = positions.i((0, 1..))?.to_dtype(computing)?;
    let rows = tall.matmul(&rows.reshape((from.rows(), from.cols() * dim))?)?;
    let rows = rows.reshape((to.rows(), from.cols(), dim))?;
    let cells = wide.unsqueeze(0)?.broadcast_matmul(&rows)?.reshape((1, to.len(), dim))?;
    let class = positions.i((.., ..1))?;
    Ok(Tensor::cat(&[&class, &cells.to_dtype(positions.dtype())?], 1)?)
}
