use candle_core::{Result, Tensor};

/// The largest of each 2 x 2 pixels: see [`max_pool2`](crate::max_pool2).
///
/// # Errors
/// When the shapes do not fit.
pub fn max_pool2(x: &Tensor) -> Result<Tensor> {
    let (batch, height, width, channels) = x.dims4()?;
    let (rows, cols) = (height / 2, width / 2);
    let x = x.narrow(1, 0, 2 * rows)?.narrow(2, 0, 2 * cols)?.contiguous()?;
    x.reshape((batch * rows, 2, cols, 2, channels))?
        .max(3)?
        .max(1)?
        .reshape((batch, rows, cols, channels))
}
