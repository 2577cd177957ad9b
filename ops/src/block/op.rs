use std::sync::{Mutex, PoisonError};

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Tensor, bail};
use half::bf16;

use super::backward::backward;
use super::forward::{Block, Saved, forward};
use super::weights::BlockWeights;
use crate::attention::{Attend, Heads};
use crate::backward::{Collector, tracking};
use crate::numbers::{Numbers, slice};
use crate::parallel::in_pool;
use crate::{Compute, Precision};

/// [`transformer_blocks`] of a single block.
///
/// # Errors
/// As there.
pub fn transformer_block(
    x: &Tensor,
    weights: &BlockWeights,
    drop_path: Option<[Vec<f32>; 2]>,
    compute: Compute,
) -> Result<Tensor> {
    transformer_blocks(x, vec![(weights.clone(), drop_path)], compute)
}

/// Blocks one after the other, each `x + attention(norm1(x))`, then `x + mlp(norm2(x))`, as one operation on the CPU.
///
/// Its weights' gradients come from [`backward`](crate::backward()); a plain `loss.backward()` is an error. With
/// [`Compute::grad_checkpoint`] only each block's input is kept, and the backward pass computes the rest again.
///
/// # Shapes
/// `x` `[batch, tokens, dim]`, f32; the result is the same. Beside its weights, a block may have a factor for each sample
/// on each of its two residual branches (drop path).
///
/// # Errors
/// When shapes do not fit, or tokens or weights are not f32 on the CPU.
pub fn transformer_blocks(
    x: &Tensor,
    blocks: Vec<(BlockWeights, Option<[Vec<f32>; 2]>)>,
    compute: Compute,
) -> Result<Tensor> {
    let (batch, tokens, dim) = x.dims3()?;
    let mut tower = Vec::with_capacity(blocks.len());
    for (weights, scales) in blocks {
        weights.check()?;
        if dim != weights.dim() {
            bail!("tokens of width {dim} for a transformer block of width {}", weights.dim());
        }
        if let Some(scales) = scales.iter().flatten().find(|scales| scales.len() != batch) {
            bail!("drop path for {} samples, expected {batch}", scales.len());
        }
        if let Some((rows, cols)) = weights.grid.as_ref().map(|grid| grid.grid)
            && rows * cols != tokens
        {
            bail!("{tokens} tokens for a transformer block on a grid of {rows} x {cols}");
        }
        let heads = Heads { batch, tokens, heads: weights.heads, width: dim / weights.heads };
        tower.push(Block { heads, weights, scales });
    }
    if tower.is_empty() || x.elem_count() == 0 {
        return Ok(x.clone());
    }
    let x = x.contiguous()?;
    #[cfg(feature = "cuda")]
    if compute.fused_on_gpu(x.device()) {
        if tower.iter().any(|block| block.weights.grid.is_some()) {
            bail!("no kernel of a GPU has attention over a grid: such blocks go by layers");
        }
        let layers = tower.into_iter().map(|block| (block.weights, block.scales)).collect();
        let primitives = crate::cuda::primitives(&x, compute.precision)?;
        return crate::device::tower(primitives, &x, layers, compute);
    }
    match compute.precision {
        Precision::Fp32 => apply::<f32>(&x, tower, compute),
        Precision::Bf16 => apply::<bf16>(&x, tower, compute),
    }
}

fn apply<T: Attend>(x: &Tensor, blocks: Vec<Block>, compute: Compute) -> Result<Tensor> {
    // A weight as a second argument keeps the operation in candle's graph whatever its tokens are.
    let token = blocks.iter().find_map(|block| block.weights.variable().cloned());
    let tracked = tracking() && (token.is_some() || x.track_op());
    let keep = match (tracked, compute.grad_checkpoint) {
        (false, _) => Keep::Nothing,
        (true, true) => Keep::Inputs,
        (true, false) => Keep::All,
    };
    let op = Tower::<T> { blocks, keep, kept: Mutex::new(None) };
    match token {
        _ if !tracked => x.apply_op1_no_bwd(&op),
        Some(token) => x.apply_op2(&token, op),
        None => x.apply_op1(op),
    }
}

/// What the forward pass keeps for the backward pass.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keep {
    Nothing,
    /// Each block's input.
    Inputs,
    /// That, and everything inside the blocks.
    All,
}

/// A block's input (but the first's, which candle keeps) and inside.
struct Kept<T> {
    input: Option<Vec<f32>>,
    inside: Option<Saved<T>>,
}

struct Tower<T> {
    blocks: Vec<Block>,
    keep: Keep,
    kept: Mutex<Option<Vec<Kept<T>>>>,
}

impl<T: Attend> Tower<T> {
    /// The output, and what is kept of each block.
    fn forward(&self, x: &[f32], keep: Keep) -> Result<(Vec<f32>, Vec<Kept<T>>)> {
        let mut kept = Vec::with_capacity(self.blocks.len());
        let mut stream: Option<Vec<f32>> = None;
        for block in &self.blocks {
            let input = stream.as_deref().unwrap_or(x);
            let (out, inside) = forward::<T>(input, block, keep == Keep::All)?;
            let input = stream.replace(out);
            if keep != Keep::Nothing {
                kept.push(Kept { input, inside });
            }
        }
        Ok((stream.unwrap_or_default(), kept))
    }

    fn backward(&self, x: &[f32], gradient: &[f32], collector: &Collector) -> Result<Vec<f32>> {
        let taken = self.kept.lock().unwrap_or_else(PoisonError::into_inner).take();
        // A second backward pass over one graph finds nothing.
        let kept = match taken {
            Some(kept) => kept,
            None => self.forward(x, Keep::Inputs)?.1,
        };
        let mut sum: Option<Vec<f32>> = None;
        for (block, Kept { input, inside }) in self.blocks.iter().zip(kept).rev() {
            let input = input.as_deref().unwrap_or(x);
            let inside = match inside {
                Some(inside) => inside,
                None => match forward::<T>(input, block, true)?.1 {
                    Some(inside) => inside,
                    None => bail!("a transformer block kept nothing for its backward pass"),
                },
            };
            let gradient = sum.as_deref().unwrap_or(gradient);
            sum = Some(backward(input, gradient, block, inside, collector)?);
        }
        Ok(sum.unwrap_or_default())
    }

    fn run(&self, x: &[f32]) -> Result<Vec<f32>> {
        let (out, kept) = in_pool(|| self.forward(x, self.keep))?;
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(kept);
        Ok(out)
    }

    fn gradient(&self, x: &Tensor, gradient: &Tensor) -> Result<Tensor> {
        let collector = Collector::current("a transformer block")?;
        let gradient = gradient.contiguous()?;
        let (values, gradient) = (Numbers::of(x)?, Numbers::of(&gradient)?);
        let (values, gradient): (&[f32], &[f32]) = (&values, &gradient);
        let out = in_pool(|| self.backward(values, gradient, &collector))?;
        Tensor::from_vec(out, x.shape(), x.device())
    }
}

impl<T: Attend> CustomOp1 for Tower<T> {
    fn name(&self) -> &'static str {
        "transformer-blocks"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        Ok((CpuStorage::F32(self.run(slice(x, layout)?)?), layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _out: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        self.gradient(x, gradient).map(Some)
    }
}

impl<T: Attend> CustomOp2 for Tower<T> {
    fn name(&self) -> &'static str {
        "transformer-blocks"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        layout: &Layout,
        _token: &CpuStorage,
        _: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        CustomOp1::cpu_fwd(self, x, layout)
    }

    fn bwd(
        &self,
        x: &Tensor,
        _token: &Tensor,
        _out: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        Ok((Some(self.gradient(x, gradient)?), None))
    }
}
