use std::sync::{Mutex, PoisonError};

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};
use half::bf16;

use super::{Attend, Given, Heads, backward, forward};
use crate::buffer::unset;
use crate::matrix::{Rows, RowsMut};
use crate::numbers::{Numbers, slice};
use crate::rows::convert::convert;
use crate::{Compute, Precision, reference};

/// Multi-head self-attention over packed queries, keys and values (arXiv 1706.03762), scores scaled by
/// `1 / sqrt(head width)`. No L x L matrix is ever in memory.
///
/// # Shapes
/// `qkv` `[batch, tokens, 3 * dim]`; the result is `[batch, tokens, dim]`, head after head.
///
/// # Errors
/// When the heads do not divide `dim`.
pub fn attention(qkv: &Tensor, heads: usize, compute: Compute) -> Result<Tensor> {
    let (batch, tokens, width) = qkv.dims3()?;
    if heads == 0 || !width.is_multiple_of(3 * heads) || width == 0 {
        bail!(
            "attention with {heads} heads over rows of {width}: expected a multiple of 3 x heads"
        );
    }
    let sizes = Heads { batch, tokens, heads, width: width / 3 / heads };
    #[cfg(feature = "cuda")]
    if compute.fused_on_gpu(qkv.device()) {
        let qkv = qkv.contiguous()?;
        let primitives = crate::cuda::primitives(&qkv, compute.precision)?;
        return crate::device::attention(primitives, &qkv, sizes);
    }
    if !compute.fused(qkv.device()) {
        return reference::attention(qkv, heads);
    }
    let heads = sizes;
    let qkv = qkv.contiguous()?;
    match compute.precision {
        Precision::Fp32 => qkv.apply_op1(AttentionOp::<f32>::new(heads)),
        Precision::Bf16 => qkv.apply_op1(AttentionOp::<bf16>::new(heads)),
    }
}

struct AttentionOp<T> {
    heads: Heads,
    /// The result in the precision of the products, and the scores' log-sum-exp.
    saved: Mutex<Option<(Vec<T>, Vec<f32>)>>,
}

impl<T: Attend> AttentionOp<T> {
    fn new(heads: Heads) -> Self {
        Self { heads, saved: Mutex::new(None) }
    }

    fn operand(&self, x: &[f32], cols: usize) -> Vec<T> {
        let rows = self.heads.rows();
        let mut copy = unset::<T>(rows * cols);
        convert(Rows::dense(x, rows, cols), None, RowsMut::dense(&mut copy, rows, cols));
        copy
    }

    fn forward(&self, qkv: &[f32]) -> (Vec<T>, Vec<f32>) {
        let (rows, dim) = (self.heads.rows(), self.heads.dim());
        let qkv = self.operand(qkv, 3 * dim);
        let mut out = unset::<T>(rows * dim);
        let to = RowsMut::dense(&mut out, rows, dim);
        let log_sums = forward(Rows::dense(&qkv, rows, 3 * dim), self.heads, None, to);
        (out, log_sums)
    }
}

impl<T: Attend> CustomOp1 for AttentionOp<T> {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn cpu_fwd(&self, qkv: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let saved = self.forward(slice(qkv, layout)?);
        let out = saved.0.iter().map(|x| x.to_f32()).collect();
        *self.saved.lock().unwrap_or_else(PoisonError::into_inner) = Some(saved);
        let Heads { batch, tokens, .. } = self.heads;
        Ok((CpuStorage::F32(out), (batch, tokens, self.heads.dim()).into()))
    }

    fn bwd(&self, qkv: &Tensor, _out: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let (rows, dim) = (self.heads.rows(), self.heads.dim());
        let gradient = gradient.contiguous()?;
        let values = Numbers::of(qkv)?;
        let kept = self.saved.lock().unwrap_or_else(PoisonError::into_inner).take();
        let (out, log_sums) = kept.unwrap_or_else(|| self.forward(&values));
        let (operand, gradient) =
            (self.operand(&values, 3 * dim), self.operand(&Numbers::of(&gradient)?, dim));
        let mut slopes = unset::<T>(rows * 3 * dim);
        let given = Given {
            qkv: Rows::dense(&operand, rows, 3 * dim),
            out: Rows::dense(&out, rows, dim),
            log_sums: &log_sums,
            gradient: Rows::dense(&gradient, rows, dim),
        };
        backward(&given, self.heads, None, RowsMut::dense(&mut slopes, rows, 3 * dim));
        let slopes: Vec<f32> = slopes.iter().map(|x| x.to_f32()).collect();
        Ok(Some(Tensor::from_vec(slopes, qkv.shape(), qkv.device())?))
    }
}
