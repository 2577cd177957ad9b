//! Position embeddings: fixed 2-D sin-cos, and bicubic resizing to another grid.

use candle_core::{Device, IndexOp, Tensor};

use crate::{Error, PatchGrid, Result};

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

/// Resizes a position embedding to another grid: bicubic, `align_corners=False`, no antialiasing, as MAE
/// and detectron2 do. The class token's row is kept.
///
/// Resizing is linear, so it is done by two matrices, one a side, and stays differentiable.
///
/// # Shapes
/// `positions` `[1, 1 + from.len(), dim]`; the result is `[1, 1 + to.len(), dim]`.
///
/// # Errors
/// When `positions` is not of the grid `from`.
pub fn resize_positions(positions: &Tensor, from: PatchGrid, to: PatchGrid) -> Result<Tensor> {
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
    let device = positions.device();
    let class = positions.i((.., ..1))?;
    let tall = bicubic_matrix(from.rows(), to.rows(), device)?.to_dtype(positions.dtype())?;
    let wide = bicubic_matrix(from.cols(), to.cols(), device)?.to_dtype(positions.dtype())?;
    let rows = positions.i((0, 1..))?.reshape((from.rows(), from.cols() * dim))?;
    let rows = tall.matmul(&rows)?.reshape((to.rows(), from.cols(), dim))?;
    let cells = wide.unsqueeze(0)?.broadcast_matmul(&rows)?.reshape((1, to.len(), dim))?;
    Ok(Tensor::cat(&[&class, &cells], 1)?)
}

/// The matrix `[to, from]` that resizes a line of `from` samples to `to` by PyTorch's bicubic kernel.
fn bicubic_matrix(from: usize, to: usize, device: &Device) -> Result<Tensor> {
    let mut matrix = vec![0f32; to * from];
    let scale = from as f64 / to as f64;
    for (out, line) in matrix.chunks_exact_mut(from).enumerate() {
        let place = (out as f64 + 0.5) * scale - 0.5;
        let first = place.floor();
        for tap in -1..=2 {
            // Taps beyond the border read the border's sample.
            let source = (first as isize + tap).clamp(0, from as isize - 1) as usize;
            line[source] += cubic(place - first - tap as f64) as f32;
        }
    }
    Ok(Tensor::from_vec(matrix, (to, from), device)?)
}

/// Keys' cubic convolution kernel with a = -0.75, as in `torch.nn.functional.interpolate`.
fn cubic(distance: f64) -> f64 {
    const A: f64 = -0.75;
    let x = distance.abs();
    if x <= 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        ((A * x - 5.0 * A) * x + 8.0 * A) * x - 4.0 * A
    } else {
        0.0
    }
}
