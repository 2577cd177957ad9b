use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};

use crate::Compute;
#[cfg(feature = "cuda")]
use crate::Precision;
use crate::buffer::unset;
use crate::isa::multiversion;
use crate::matrix::SharedMut;
use crate::numbers::{Numbers, slice};
use crate::parallel::parallel_pieces;
use crate::rows::math;

/// The exact GELU, `x/2 (1 + erf(x / sqrt 2))`, as PyTorch's default (arXiv 1606.08415). Any shape.
///
/// # Errors
/// When `x` is not a floating-point tensor.
pub fn gelu(x: &Tensor, compute: Compute) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if compute.fused_on_gpu(x.device()) {
        let x = x.contiguous()?;
        return crate::device::gelu(crate::cuda::primitives(&x, Precision::Fp32)?, &x);
    }
    if !compute.fused(x.device()) {
        return x.gelu_erf();
    }
    x.contiguous()?.apply_op1(GeluOp)
}

struct GeluOp;

/// Numbers that a task takes.
const PIECE: usize = 1 << 15;

impl CustomOp1 for GeluOp {
    fn name(&self) -> &'static str {
        "gelu"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = slice(x, layout)?;
        let mut out = unset::<f32>(x.len());
        let shared = SharedMut::new(&mut out);
        parallel_pieces(x.len(), PIECE, |start, end| {
            // SAFETY: each task has its own part.
            forward(&x[start..end], unsafe { shared.part(start, end) });
        });
        Ok((CpuStorage::F32(out), layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _out: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let gradient = gradient.contiguous()?;
        let (values, gradient) = (Numbers::of(x)?, Numbers::of(&gradient)?);
        let mut out = unset::<f32>(values.len());
        let shared = SharedMut::new(&mut out);
        let (values, gradient): (&[f32], &[f32]) = (&values, &gradient);
        parallel_pieces(values.len(), PIECE, |start, end| {
            // SAFETY: each task has its own part.
            let out = unsafe { shared.part(start, end) };
            backward(&values[start..end], &gradient[start..end], out);
        });
        Ok(Some(Tensor::from_vec(out, x.shape(), x.device())?))
    }
}

multiversion! {
    fn forward(x: &[f32], out: &mut [f32]) = forward_body;
}

#[inline(always)]
fn forward_body<const FMA: bool>(x: &[f32], out: &mut [f32]) {
    out.iter_mut().zip(x).for_each(|(out, x)| *out = math::gelu::<FMA>(*x));
}

multiversion! {
    fn backward(x: &[f32], gradient: &[f32], out: &mut [f32]) = backward_body;
}

#[inline(always)]
fn backward_body<const FMA: bool>(x: &[f32], gradient: &[f32], out: &mut [f32]) {
    for ((out, x), gradient) in out.iter_mut().zip(x).zip(gradient) {
        *out = gradient * math::gelu_slope::<FMA>(*x);
    }
}
