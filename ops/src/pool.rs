//! Many tokens to one.

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};

use crate::matrix::SharedMut;
use crate::numbers::{Numbers, slice};
use crate::parallel::{in_pool, parallel};
use crate::{Compute, reference};

/// The mean of the tokens `start..start + count` of each sample.
///
/// # Shapes
/// `tokens` `[batch, tokens, dim]`; the result is `[batch, dim]`. Other tokens get a gradient of zero.
///
/// # Errors
/// When there are no such tokens.
pub fn mean_tokens(
    tokens: &Tensor,
    start: usize,
    count: usize,
    compute: Compute,
) -> Result<Tensor> {
    let (batch, length, dim) = tokens.dims3()?;
    if count == 0 || start.checked_add(count).is_none_or(|end| end > length) {
        bail!("the mean of {count} tokens from {start} on: the sequence has {length}");
    }
    if !compute.fused(tokens.device()) {
        return reference::mean_tokens(tokens, start, count);
    }
    tokens.contiguous()?.apply_op1(Mean { batch, length, dim, start, count })
}

struct Mean {
    batch: usize,
    length: usize,
    dim: usize,
    start: usize,
    count: usize,
}

impl CustomOp1 for Mean {
    fn name(&self) -> &'static str {
        "mean-tokens"
    }

    fn cpu_fwd(&self, tokens: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (tokens, dim) = (slice(tokens, layout)?, self.dim);
        let mut out = vec![0.0_f32; self.batch * dim];
        let shared = SharedMut::new(&mut out);
        let share = 1.0 / self.count as f32;
        in_pool(|| {
            parallel(self.batch, |sample| {
                // SAFETY: each task has its own part.
                let out = unsafe { shared.part(sample * dim, (sample + 1) * dim) };
                let own = &tokens[(sample * self.length + self.start) * dim..][..self.count * dim];
                for token in own.chunks_exact(dim.max(1)) {
                    out.iter_mut().zip(token).for_each(|(sum, x)| *sum += x);
                }
                out.iter_mut().for_each(|sum| *sum *= share);
            });
        });
        Ok((CpuStorage::F32(out), (self.batch, dim).into()))
    }

    fn bwd(&self, tokens: &Tensor, _out: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let gradient = gradient.contiguous()?;
        let gradient = Numbers::of(&gradient)?;
        let gradient: &[f32] = &gradient;
        let (dim, row) = (self.dim, self.length * self.dim);
        let mut out = vec![0.0_f32; self.batch * row];
        let shared = SharedMut::new(&mut out);
        let share = 1.0 / self.count as f32;
        in_pool(|| {
            parallel(self.batch, |sample| {
                // SAFETY: each task has its own part.
                let out = unsafe { shared.part(sample * row, (sample + 1) * row) };
                let gradient = &gradient[sample * dim..][..dim];
                let own = &mut out[self.start * dim..][..self.count * dim];
                for token in own.chunks_exact_mut(dim.max(1)) {
                    token.iter_mut().zip(gradient).for_each(|(to, x)| *to = x * share);
                }
            });
        });
        Ok(Some(Tensor::from_vec(out, tokens.shape(), tokens.device())?))
    }
}
