use std::sync::{Mutex, PoisonError};

use candle_core::{CpuStorage, CustomOp3, D, Layout, Result, Shape, Tensor, bail};

use crate::buffer::unset;
use crate::matrix::{Rows, RowsMut};
use crate::numbers::{Numbers, slice};
use crate::rows::norm::{Moments, backward, forward};
use crate::{Compute, reference};

/// Layer normalisation over the last dimension, with a gradient for all three.
///
/// `(x - mean) / sqrt(var + eps) * weight + bias`, with the biased variance (arXiv 1607.06450), as PyTorch.
///
/// # Shapes
/// `x` `[.., dim]`, `weight` and `bias` `[dim]`; the result has the shape of `x`.
///
/// # Errors
/// When the shapes do not fit.
pub fn layer_norm(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    eps: f64,
    compute: Compute,
) -> Result<Tensor> {
    let dim = x.dim(D::Minus1)?;
    if weight.dims() != [dim] || bias.dims() != [dim] {
        bail!("a norm of weight {:?} and bias {:?} on {dim} numbers", weight.dims(), bias.dims());
    }
    #[cfg(feature = "cuda")]
    if compute.fused_on_gpu(x.device()) {
        let (x, weight, bias) = (x.contiguous()?, weight.contiguous()?, bias.contiguous()?);
        let primitives = crate::cuda::primitives(&x, crate::Precision::Fp32)?;
        return crate::device::layer_norm(primitives, &x, &weight, &bias, eps);
    }
    if !compute.fused(x.device()) {
        return reference::layer_norm(x, weight, bias, eps);
    }
    let op = NormOp { eps: eps as f32, moments: Mutex::new(Vec::new()) };
    x.contiguous()?.apply_op3(&weight.contiguous()?, &bias.contiguous()?, op)
}

struct NormOp {
    eps: f32,
    moments: Mutex<Vec<Moments>>,
}

impl CustomOp3 for NormOp {
    fn name(&self) -> &'static str {
        "layer-norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, weight) = (slice(x, layout)?, slice(weight, weight_layout)?);
        let rows = x.len().checked_div(weight.len()).unwrap_or(0);
        let mut out = unset::<f32>(x.len());
        let moments = forward(
            Rows::dense(x, rows, weight.len()),
            weight,
            slice(bias, bias_layout)?,
            self.eps,
            RowsMut::dense(&mut out, rows, weight.len()),
        );
        *self.moments.lock().unwrap_or_else(PoisonError::into_inner) = moments;
        Ok((CpuStorage::F32(out), layout.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        _out: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let gradient = gradient.contiguous()?;
        let moments = self.moments.lock().unwrap_or_else(PoisonError::into_inner);
        let (rows, dim) = (moments.len(), weight.elem_count());
        let mut out = unset::<f32>(rows * dim);
        let sums = backward(
            Rows::dense(&Numbers::of(x)?, rows, dim),
            &moments,
            &Numbers::of(weight)?,
            Rows::dense(&Numbers::of(&gradient)?, rows, dim),
            None,
            RowsMut::dense(&mut out, rows, dim),
        );
        let device = x.device();
        Ok((
            Some(Tensor::from_vec(out, x.shape(), device)?),
            Some(Tensor::from_vec(sums.weight, weight.shape(), device)?),
            Some(Tensor::from_vec(sums.bias, bias.shape(), device)?),
        ))
    }
}
