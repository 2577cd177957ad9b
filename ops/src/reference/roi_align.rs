use candle_core::{IndexOp, Result, Tensor};

use crate::roi_align::{Line, Sampled};

/// Features under boxes, by two matrices a box: see [`roi_align`](crate::roi_align()).
///
/// # Errors
/// When the shapes do not fit.
pub(crate) fn roi_align(features: &Tensor, places: &[Sampled], side: usize) -> Result<Tensor> {
    let (_, height, width, channels) = features.dims4()?;
    let matrix = |line: &Line, len: usize| {
        let mut values = vec![0.0_f32; side * len];
        for (bin, values) in values.chunks_exact_mut(len).enumerate() {
            line.bin(bin).iter().for_each(|(place, weight)| values[*place] += weight);
        }
        Tensor::from_vec(values, (side, len), features.device())?.to_dtype(features.dtype())
    };
    let boxes = places.iter().map(|place| {
        let map = features.i(place.image)?.contiguous()?.reshape((height, width * channels))?;
        let rows = matrix(&place.rows, height)?.matmul(&map)?;
        let rows = rows.reshape((side, width, channels))?;
        let cols = matrix(&place.cols, width)?.unsqueeze(0)?;
        cols.broadcast_as((side, side, width))?.contiguous()?.matmul(&rows)
    });
    Tensor::stack(&boxes.collect::<Result<Vec<_>>>()?, 0)
}
