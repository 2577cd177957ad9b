use candle_core::{Result, Tensor};

/// `x W^T + b` over the last dimension.
///
/// # Shapes
/// `x` `[.., in]`, `weight` `[out, in]`, `bias` `[out]`; the result is `[.., out]`.
///
/// # Errors
/// When the shapes do not fit.
pub fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let mut shape = x.dims().to_vec();
    let inner = shape.pop().unwrap_or(1);
    let rows = shape.iter().product::<usize>();
    shape.push(weight.dim(0)?);
    // Leading dimensions are flattened: one matrix product instead of one per sample.
    let y = x.contiguous()?.reshape((rows, inner))?.matmul(&weight.t()?)?;
    let y = match bias {
        Some(bias) => y.broadcast_add(bias)?,
        None => y,
    };
    y.reshape(shape)
}
