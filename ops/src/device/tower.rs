//! Transformer blocks one after the other as one node: the twin of `block::op` on a device's tensors.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{DType, Result, Tensor};

use super::node;
use super::primitives::{Attended, Heads, Primitives, Product};
use crate::backward::{Collector, tracking};
use crate::{Affine, BlockWeights, Compute, QkvBias};

/// A block, and a factor for each sample on each of its two residual branches (drop path).
pub(crate) type Layer = (BlockWeights, Option<[Vec<f32>; 2]>);

/// As [`transformer_blocks`](crate::transformer_blocks), of blocks that were checked; none of them on a grid.
pub(crate) fn tower(
    primitives: Arc<dyn Primitives>,
    x: &Tensor,
    layers: Vec<Layer>,
    compute: Compute,
) -> Result<Tensor> {
    let (batch, tokens, dim) = x.dims3()?;
    let token = layers.iter().find_map(|(weights, _)| weights.variable().cloned());
    let blocks = blocks(layers, (batch, tokens), x.device())?;
    let keep = match (tracking() && (token.is_some() || x.track_op()), compute.grad_checkpoint) {
        (false, _) => Keep::Nothing,
        (true, true) => Keep::Inputs,
        (true, false) => Keep::All,
    };
    let tower = Tower { primitives, blocks };
    let input = x.detach().reshape((batch * tokens, dim))?;
    let (value, kept) = tower.forward(&input, keep)?;
    let value = value.reshape((batch, tokens, dim))?;
    // A second backward pass over one graph finds nothing, and computes it again.
    let kept = Mutex::new(Some(kept));
    let arguments: Vec<&Tensor> = std::iter::once(x).chain(&token).collect();
    let more = arguments.len() - 1;
    node("transformer-blocks", &arguments, value, move |gradient| {
        let collector = Collector::current("a transformer block")?;
        let kept = kept.lock().unwrap_or_else(PoisonError::into_inner).take();
        let gradient = gradient.reshape((batch * tokens, dim))?;
        let slope = tower.backward(&input, kept, gradient, &collector)?;
        let slope = slope.reshape((batch, tokens, dim))?;
        Ok(std::iter::once(Some(slope)).chain(std::iter::repeat_n(None, more)).collect())
    })
}

/// The blocks, with all their drop-path factors brought to the device at once.
fn blocks(
    layers: Vec<Layer>,
    (batch, tokens): (usize, usize),
    device: &candle_core::Device,
) -> Result<Vec<Block>> {
    let all: Vec<f32> =
        layers.iter().flat_map(|(_, scales)| scales.iter().flatten().flatten().copied()).collect();
    let table = match all.len() {
        0 => None,
        count => Some(Tensor::from_vec(all, (count / batch, batch), device)?),
    };
    let mut next = 0;
    let mut row = || -> Result<Option<Tensor>> {
        let Some(table) = &table else { return Ok(None) };
        next += 1;
        table.narrow(0, next - 1, 1)?.squeeze(0).map(Some)
    };
    let block = |(weights, scales): Layer| {
        let heads =
            Heads { batch, tokens, heads: weights.heads, width: weights.dim() / weights.heads };
        let scales = match scales {
            Some(_) => [row()?, row()?],
            None => [None, None],
        };
        Ok(Block { heads, weights, scales })
    };
    layers.into_iter().map(block).collect()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Keep {
    Nothing,
    /// Each block's input.
    Inputs,
    /// That, and everything inside the blocks.
    All,
}

struct Block {
    heads: Heads,
    weights: BlockWeights,
    scales: [Option<Tensor>; 2],
}

/// A block's input (but the first's) and inside.
struct Kept {
    input: Option<Tensor>,
    inside: Option<Saved>,
}

struct Saved {
    attention: SavedAttention,
    /// The residual stream between attention and MLP.
    middle: Tensor,
    mlp: SavedMlp,
}

struct SavedAttention {
    moments: Tensor,
    normed: Tensor,
    qkv: Tensor,
    attended: Attended,
}

struct SavedMlp {
    moments: Tensor,
    normed: Tensor,
    before: Tensor,
    after: Tensor,
}

struct Tower {
    primitives: Arc<dyn Primitives>,
    blocks: Vec<Block>,
}

impl Tower {
    fn forward(&self, x: &Tensor, keep: Keep) -> Result<(Tensor, Vec<Kept>)> {
        let mut kept = Vec::with_capacity(self.blocks.len());
        let mut stream: Option<Tensor> = None;
        for block in &self.blocks {
            let pass = Pass { p: self.primitives.as_ref(), block };
            let (out, inside) = pass.forward(stream.as_ref().unwrap_or(x))?;
            let input = stream.replace(out);
            if keep != Keep::Nothing {
                let inside = (keep == Keep::All).then_some(inside);
                kept.push(Kept { input, inside });
            }
        }
        Ok((stream.unwrap_or_else(|| x.clone()), kept))
    }

    fn backward(
        &self,
        x: &Tensor,
        kept: Option<Vec<Kept>>,
        gradient: Tensor,
        collector: &Collector,
    ) -> Result<Tensor> {
        let kept = match kept {
            Some(kept) => kept,
            None => self.forward(x, Keep::Inputs)?.1,
        };
        let mut gradient = gradient;
        for (block, Kept { input, inside }) in self.blocks.iter().zip(kept).rev() {
            let pass = Pass { p: self.primitives.as_ref(), block };
            let input = input.as_ref().unwrap_or(x);
            let Saved { attention, middle, mlp } = match inside {
                Some(inside) => inside,
                None => pass.forward(input)?.1,
            };
            gradient = pass.mlp_backward(&middle, &gradient, mlp, collector)?;
            drop(middle);
            gradient = pass.attention_backward(input, &gradient, attention, collector)?;
        }
        Ok(gradient)
    }
}

/// A pass through a block.
struct Pass<'a> {
    p: &'a dyn Primitives,
    block: &'a Block,
}

impl Pass<'_> {
    fn forward(&self, x: &Tensor) -> Result<(Tensor, Saved)> {
        let (middle, attention) = self.attention(x)?;
        let (out, mlp) = self.mlp(&middle)?;
        Ok((out, Saved { attention, middle, mlp }))
    }

    /// `x + proj(attention(qkv(norm1(x))))`.
    fn attention(&self, x: &Tensor) -> Result<(Tensor, SavedAttention)> {
        let weights = &self.block.weights;
        let (normed, moments) = self.norm(x, &weights.norm1)?;
        let bias = weights.qkv_bias.tensor()?.detach();
        let qkv = self.layer(&normed, &weights.qkv, &bias)?;
        let attended = self.p.attention(&qkv, self.block.heads)?;
        let out = self.residual(x, &attended.out, &weights.proj, 0)?;
        Ok((out, SavedAttention { moments, normed, qkv, attended }))
    }

    /// `x + fc2(gelu(fc1(norm2(x))))`.
    fn mlp(&self, x: &Tensor) -> Result<(Tensor, SavedMlp)> {
        let weights = &self.block.weights;
        let (normed, moments) = self.norm(x, &weights.norm2)?;
        let before = self.layer(&normed, &weights.fc1.weight, &weights.fc1.bias)?;
        let after = self.p.gelu(&before)?;
        let out = self.residual(x, &after, &weights.fc2, 1)?;
        Ok((out, SavedMlp { moments, normed, before, after }))
    }

    /// A norm of the residual stream, as an operand.
    fn norm(&self, x: &Tensor, norm: &Affine) -> Result<(Tensor, Tensor)> {
        let (weight, bias) = (norm.weight.detach(), norm.bias.detach());
        self.p.norm(x, &weight, &bias, self.block.weights.eps, self.p.operand())
    }

    /// A weight or bias as an operand: a copy that lives as long as it is needed.
    fn operand(&self, weight: &Tensor) -> Result<Tensor> {
        self.p.cast(&weight.detach(), None, self.p.operand())
    }

    /// A layer whose output is an operand.
    fn layer(&self, x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
        let (weight, bias) = (self.operand(weight)?, self.operand(bias)?);
        let product = Product { transposed_b: true, bias: Some(&bias), ..Product::default() };
        self.p.product(x, &weight, &product, self.p.operand())
    }

    /// `x + scale layer(inner)`, f32.
    fn residual(
        &self,
        x: &Tensor,
        inner: &Tensor,
        layer: &Affine,
        branch: usize,
    ) -> Result<Tensor> {
        let (weight, bias) = (self.operand(&layer.weight)?, layer.bias.detach());
        let scales = self.block.scales[branch].as_ref();
        let add = if scales.is_none() { Some(x) } else { None };
        let product = Product { transposed_b: true, bias: Some(&bias), add, ..Product::default() };
        let out = self.p.product(inner, &weight, &product, DType::F32)?;
        match scales {
            Some(scales) => self.p.residual(x, &out, scales),
            None => Ok(out),
        }
    }

    /// Through the MLP's branch, whose input was `x`.
    fn mlp_backward(
        &self,
        x: &Tensor,
        gradient: &Tensor,
        saved: SavedMlp,
        collector: &Collector,
    ) -> Result<Tensor> {
        let SavedMlp { moments, normed, before, after } = saved;
        let weights = &self.block.weights;
        let out = self.p.cast(gradient, self.block.scales[1].as_ref(), self.p.operand())?;
        self.collect(collector, &weights.fc2, &out, &after)?;
        drop(after);
        let inner = self.through(&weights.fc2.weight, &out)?;
        drop(out);
        let inner = self.p.gelu_backward(&before, inner)?;
        drop(before);
        self.collect(collector, &weights.fc1, &inner, &normed)?;
        drop(normed);
        let slope = self.through(&weights.fc1.weight, &inner)?;
        drop(inner);
        self.norm_backward(collector, &weights.norm2, x, &moments, &slope, gradient)
    }

    /// Through attention's branch, whose input was `x`.
    fn attention_backward(
        &self,
        x: &Tensor,
        gradient: &Tensor,
        saved: SavedAttention,
        collector: &Collector,
    ) -> Result<Tensor> {
        let SavedAttention { moments, normed, qkv, attended } = saved;
        let weights = &self.block.weights;
        let out = self.p.cast(gradient, self.block.scales[0].as_ref(), self.p.operand())?;
        self.collect(collector, &weights.proj, &out, &attended.out)?;
        let inner = self.through(&weights.proj.weight, &out)?;
        drop(out);
        let slopes = self.p.attention_backward(&qkv, &attended, &inner, self.block.heads)?;
        drop((inner, attended, qkv));
        self.collect_weight(collector, &weights.qkv, &slopes, &normed)?;
        drop(normed);
        self.collect_qkv_bias(collector, &slopes)?;
        let slope = self.through(&weights.qkv, &slopes)?;
        drop(slopes);
        self.norm_backward(collector, &weights.norm1, x, &moments, &slope, gradient)
    }

    /// The gradient of a layer's input, as an operand.
    fn through(&self, weight: &Tensor, gradient: &Tensor) -> Result<Tensor> {
        let weight = self.operand(weight)?;
        self.p.product(gradient, &weight, &Product::default(), self.p.operand())
    }

    fn collect_weight(
        &self,
        collector: &Collector,
        weight: &Tensor,
        gradient: &Tensor,
        input: &Tensor,
    ) -> Result<()> {
        if !weight.is_variable() {
            return Ok(());
        }
        let product = Product { transposed_a: true, ..Product::default() };
        collector.add_tensor(weight, self.p.product(gradient, input, &product, DType::F32)?)
    }

    /// Collects the gradients of a linear layer's weight and bias.
    fn collect(
        &self,
        collector: &Collector,
        layer: &Affine,
        gradient: &Tensor,
        input: &Tensor,
    ) -> Result<()> {
        self.collect_weight(collector, &layer.weight, gradient, input)?;
        match layer.bias.is_variable() {
            true => collector.add_tensor(&layer.bias, self.p.column_sums(gradient)?),
            false => Ok(()),
        }
    }

    fn collect_qkv_bias(&self, collector: &Collector, slopes: &Tensor) -> Result<()> {
        let dim = self.block.heads.dim();
        let bias = &self.block.weights.qkv_bias;
        if !bias.parts().iter().any(|part| part.is_variable()) {
            return Ok(());
        }
        let sums = self.p.column_sums(slopes)?;
        match bias {
            QkvBias::Full(bias) => collector.add_tensor(bias, sums),
            QkvBias::NoKey { query, value } => {
                collector.add_tensor(query, sums.narrow(0, 0, dim)?.copy()?)?;
                collector.add_tensor(value, sums.narrow(0, 2 * dim, dim)?.copy()?)
            }
        }
    }

    /// The gradient of a norm's input plus that of the branch around it; the norm's own are collected.
    fn norm_backward(
        &self,
        collector: &Collector,
        norm: &Affine,
        x: &Tensor,
        moments: &Tensor,
        gradient: &Tensor,
        around: &Tensor,
    ) -> Result<Tensor> {
        if norm.weight.is_variable() || norm.bias.is_variable() {
            let (weight, bias) = self.p.norm_parameters(x, moments, gradient)?;
            collector.add_tensor(&norm.weight, weight)?;
            collector.add_tensor(&norm.bias, bias)?;
        }
        self.p.norm_backward(x, &norm.weight.detach(), moments, gradient, Some(around))
    }
}
