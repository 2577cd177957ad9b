//! The device's passes on plain primitives against the fused kernels of the CPU.

use std::sync::Arc;

use candle_core::{Device, Result, Tensor, Var};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::plain::Plain;
use super::{attention, gelu, layer_norm, linear, tower};
use crate::attention::Heads;
use crate::{Affine, BlockWeights, Compute, QkvBias, transformer_blocks};

const DIM: usize = 24;
const HIDDEN: usize = 40;

struct Draws(ChaCha8Rng);

impl Draws {
    fn new() -> Self {
        Self(ChaCha8Rng::seed_from_u64(5))
    }

    fn var(&mut self, shape: &[usize]) -> Var {
        let count = shape.iter().product();
        let values: Vec<f32> = (0..count).map(|_| self.0.random::<f32>() - 0.5).collect();
        Var::from_tensor(&Tensor::from_vec(values, shape, &Device::Cpu).unwrap()).unwrap()
    }

    fn tensor(&mut self, shape: &[usize]) -> Tensor {
        self.var(shape).as_tensor().clone()
    }

    fn affine(&mut self, shape: &[usize]) -> Affine {
        Affine { weight: self.tensor(shape), bias: self.tensor(&shape[..1]) }
    }

    fn block(&mut self, no_key: bool) -> BlockWeights {
        BlockWeights {
            norm1: self.affine(&[DIM]),
            qkv: self.tensor(&[3 * DIM, DIM]),
            qkv_bias: match no_key {
                true => QkvBias::NoKey { query: self.tensor(&[DIM]), value: self.tensor(&[DIM]) },
                false => QkvBias::Full(self.tensor(&[3 * DIM])),
            },
            proj: self.affine(&[DIM, DIM]),
            norm2: self.affine(&[DIM]),
            fc1: self.affine(&[HIDDEN, DIM]),
            fc2: self.affine(&[DIM, HIDDEN]),
            heads: 3,
            eps: 1e-6,
            grid: None,
        }
    }
}

fn weights(blocks: &[BlockWeights]) -> Vec<Tensor> {
    let of_block = |b: &BlockWeights| {
        let affine = [&b.norm1, &b.proj, &b.norm2, &b.fc1, &b.fc2];
        let mut all: Vec<Tensor> =
            affine.iter().flat_map(|a| [a.weight.clone(), a.bias.clone()]).collect();
        all.push(b.qkv.clone());
        match &b.qkv_bias {
            QkvBias::Full(bias) => all.push(bias.clone()),
            QkvBias::NoKey { query, value } => all.extend([query.clone(), value.clone()]),
        }
        all
    };
    blocks.iter().flat_map(of_block).collect()
}

/// The value, and the gradients of `of` by a fixed direction's product with it.
fn passes(
    of: &[Tensor],
    direction: &Tensor,
    value: impl Fn() -> Result<Tensor>,
) -> (Tensor, Vec<Tensor>) {
    let value = value().unwrap();
    let store = crate::backward(&(&value * direction).unwrap().sum_all().unwrap()).unwrap();
    (value, of.iter().map(|tensor| store.get(tensor).unwrap().clone()).collect())
}

/// Within a share of the largest number.
fn close(found: &Tensor, expected: &Tensor, what: &str) {
    assert_eq!(found.dims(), expected.dims(), "{what}");
    let largest = |t: &Tensor| -> f32 {
        t.abs().unwrap().flatten_all().unwrap().max(0).unwrap().to_scalar().unwrap()
    };
    let (off, scale) = (largest(&(found - expected).unwrap()), largest(expected));
    assert!(off <= 2e-5 * scale.max(1e-3), "{what}: off by {off} of {scale}");
}

fn compare(found: (Tensor, Vec<Tensor>), expected: (Tensor, Vec<Tensor>)) {
    close(&found.0, &expected.0, "the value");
    for (i, (found, expected)) in found.1.iter().zip(&expected.1).enumerate() {
        close(found, expected, &format!("gradient {i}"));
    }
}

/// A tower of two blocks, in one of which samples skip branches.
fn towers_agree(grad_checkpoint: bool, no_key: bool) {
    let mut draws = Draws::new();
    let (batch, tokens) = (3, 7);
    let x = draws.tensor(&[batch, tokens, DIM]);
    let blocks = [draws.block(no_key), draws.block(false)];
    let direction = draws.tensor(&[batch, tokens, DIM]).detach();
    let scales = [vec![0.0, 1.25, 1.25], vec![1.5, 0.0, 1.5]];
    let layers = || vec![(blocks[0].clone(), None), (blocks[1].clone(), Some(scales.clone()))];
    let compute = Compute { grad_checkpoint, ..Compute::default() };
    let mut of = weights(&blocks);
    of.push(x.clone());
    let expected = passes(&of, &direction, || transformer_blocks(&x, layers(), compute));
    compare(passes(&of, &direction, || tower(Arc::new(Plain), &x, layers(), compute)), expected);
}

#[test]
fn a_tower_is_that_of_the_cpu() {
    towers_agree(false, false);
    towers_agree(false, true);
}

#[test]
fn a_tower_that_is_computed_again_is_that_of_the_cpu() {
    towers_agree(true, false);
}

/// The gradients of one weight that both blocks share are summed.
#[test]
fn shared_weights_get_the_sum() {
    let mut draws = Draws::new();
    let x = draws.tensor(&[2, 5, DIM]);
    let block = draws.block(false);
    let direction = draws.tensor(&[2, 5, DIM]).detach();
    let layers = || vec![(block.clone(), None), (block.clone(), None)];
    let of = weights(std::slice::from_ref(&block));
    let compute = Compute::default();
    let expected = passes(&of, &direction, || transformer_blocks(&x, layers(), compute));
    compare(passes(&of, &direction, || tower(Arc::new(Plain), &x, layers(), compute)), expected);
}

#[test]
fn a_plain_backward_pass_is_refused() {
    let mut draws = Draws::new();
    let x = draws.tensor(&[1, 2, DIM]);
    let layers = vec![(draws.block(false), None)];
    let out = tower(Arc::new(Plain), &x, layers, Compute::default()).unwrap();
    let error = out.sum_all().unwrap().backward().err().unwrap().to_string();
    assert!(error.contains("longmae_ops::backward"), "{error}");
}

#[test]
fn nothing_is_tracked_in_inference() {
    let mut draws = Draws::new();
    let x = draws.tensor(&[1, 2, DIM]);
    let layers = vec![(draws.block(false), None)];
    let out = crate::inference(|| tower(Arc::new(Plain), &x, layers, Compute::default())).unwrap();
    assert!(!out.track_op());
}

#[test]
fn single_layers_are_those_of_the_cpu() {
    let mut draws = Draws::new();
    let x = draws.tensor(&[2, 5, DIM]);
    let layer = draws.affine(&[HIDDEN, DIM]);
    let norm = draws.affine(&[DIM]);
    let compute = Compute::default();
    let wide = draws.tensor(&[2, 5, HIDDEN]).detach();
    let same = draws.tensor(&[2, 5, DIM]).detach();
    let plain = || Arc::new(Plain);

    let of = [x.clone(), layer.weight.clone(), layer.bias.clone()];
    let expected =
        passes(&of, &wide, || crate::linear(&x, &layer.weight, Some(&layer.bias), compute));
    let found = passes(&of, &wide, || linear(plain(), &x, &layer.weight, &layer.bias));
    compare(found, expected);

    let of = [x.clone(), norm.weight.clone(), norm.bias.clone()];
    let expected =
        passes(&of, &same, || crate::layer_norm(&x, &norm.weight, &norm.bias, 1e-6, compute));
    let found = passes(&of, &same, || layer_norm(plain(), &x, &norm.weight, &norm.bias, 1e-6));
    compare(found, expected);

    let of = [x.clone()];
    let expected = passes(&of, &same, || crate::gelu(&x, compute));
    compare(passes(&of, &same, || gelu(plain(), &x)), expected);

    let qkv = draws.tensor(&[2, 5, 3 * DIM]);
    let of = [qkv.clone()];
    let heads = Heads { batch: 2, tokens: 5, heads: 3, width: DIM / 3 };
    let expected = passes(&of, &same, || crate::attention(&qkv, 3, compute));
    compare(passes(&of, &same, || attention(plain(), &qkv, heads)), expected);
}
