use candle_core::{IndexOp, Result, Tensor};

use super::linear;

/// A 3 x 3 convolution: see [`conv3x3`](crate::conv3x3).
///
/// # Errors
/// When the shapes do not fit.
pub fn conv3x3(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    let (_, height, width, _) = x.dims4()?;
    let bordered = x.pad_with_zeros(1, 1, 1)?.pad_with_zeros(2, 1, 1)?;
    let mut sum: Option<Tensor> = None;
    for (row, col) in (0..3).flat_map(|row| (0..3).map(move |col| (row, col))) {
        let pixels = bordered.narrow(1, row, height)?.narrow(2, col, width)?;
        let part = linear(&pixels, &weight.i((.., .., row, col))?, None)?;
        sum = Some(match sum {
            Some(sum) => (sum + part)?,
            None => part.broadcast_add(bias)?,
        });
    }
    sum.ok_or_else(|| candle_core::Error::Msg("a kernel without pixels".into()))
}
