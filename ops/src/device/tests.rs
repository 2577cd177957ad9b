//! The device's passes on plain primitives against the fused kernels of the CPU.

use std::sync::Arc;

use candle_core::{Device, Result, Tensor, Var};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::plain::Plain;
use super::{Primitives, attention, gelu, layer_norm, linear, tower};
use crate::attention::Heads;
use crate::{Affine, BlockWeights, Compute, QkvBias, transformer_blocks};

const DIM: usize = 24;
const HIDDEN: usize = 40;

pub(crate) struct Draws(ChaCha8Rng);

impl Draws {
    pub fn new() -> Self {
        Self(ChaCha8Rng::seed_from_u64(5))
    }

    pub fn var(&mut self, shape: &[usize]) -> Var {
        let count = shape.iter().product();
        let values: Vec<f32> = (0..count).map(|_| self.0.random::<f32>() - 0.5).collect();
        Var::from_tensor(&Tensor::from_vec(values, shape, &Device::Cpu).unwrap()).unwrap()
    }

    pub fn tensor(&mut self, shape: &[usize]) -> Tensor {
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
pub(crate) fn passes(
    of: &[Tensor],
    direction: &Tensor,
    value: impl Fn() -> Result<Tensor>,
) -> (Tensor, Vec<Tensor>) {
    let value = value().unwrap();
    let store = crate::backward(&(&value * direction).unwrap().sum_all().unwrap()).unwrap();
    (value, of.iter().map(|tensor| store.get(tensor).unwrap().clone()).collect())
}

/// Within a share of the largest number.
pub(crate) fn close(found: &Tensor, expected: &Tensor, share: f32, what: &str) {
    assert_eq!(found.dims(), expected.dims(), "{what}");
    let largest = |t: &Tensor| -> f32 {
        t.abs().unwrap().flatten_all().unwrap().max(0).unwrap().to_scalar().unwrap()
    };
    let (off, scale) = (largest(&(found - expected).unwrap()), largest(expected));
    assert!(off <= share * scale.max(1e-3), "{what}: off by {off} of {scale}");
}

pub(crate) fn compare(found: (Tensor, Vec<Tensor>), expected: (Tensor, Vec<Tensor>), share: f32) {
    close(&found.0, &expected.0, share, "the value");
    for (i, (found, expected)) in found.1.iter().zip(&expected.1).enumerate() {
        close(found, expected, share, &format!("gradient {i}"));
    }
}

/// How far f32 may be off.
pub(crate) const FP32: f32 = 2e-5;

/// A tower of two blocks, in one of which samples skip branches.
pub(crate) fn towers_agree(
    primitives: &Arc<dyn Primitives>,
    tokens: usize,
    compute: Compute,
    share: f32,
) {
    let mut draws = Draws::new();
    let batch = 3;
    let x = draws.tensor(&[batch, tokens, DIM]);
    let blocks = [draws.block(true), draws.block(false)];
    let direction = draws.tensor(&[batch, tokens, DIM]).detach();
    let scales = [vec![0.0, 1.25, 1.25], vec![1.5, 0.0, 1.5]];
    let layers = || vec![(blocks[0].clone(), None), (blocks[1].clone(), Some(scales.clone()))];
    let mut of = weights(&blocks);
    of.push(x.clone());
    let expected = passes(&of, &direction, || transformer_blocks(&x, layers(), compute));
    let found = passes(&of, &direction, || tower(primitives.clone(), &x, layers(), compute));
    compare(found, expected, share);
}

fn plain() -> Arc<dyn Primitives> {
    Arc::new(Plain)
}

#[test]
fn a_tower_is_that_of_the_cpu() {
    towers_agree(&plain(), 7, Compute::default(), FP32);
}

#[test]
fn a_tower_that_is_computed_again_is_that_of_the_cpu() {
    let compute = Compute { grad_checkpoint: true, ..Compute::default() };
    towers_agree(&plain(), 7, compute, FP32);
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
    let found = passes(&of, &direction, || tower(plain(), &x, layers(), compute));
    compare(found, expected, FP32);
}

#[test]
fn a_plain_backward_pass_is_refused() {
    let mut draws = Draws::new();
    let x = draws.tensor(&[1, 2, DIM]);
    let layers = vec![(draws.block(false), None)];
    let out = tower(plain(), &x, layers, Compute::default()).unwrap();
    let error = out.sum_all().unwrap().backward().err().unwrap().to_string();
    assert!(error.contains("longmae_ops::backward"), "{error}");
}

#[test]
fn nothing_is_tracked_in_inference() {
    let mut draws = Draws::new();
    let x = draws.tensor(&[1, 2, DIM]);
    let layers = vec![(draws.block(false), None)];
    let out = crate::inference(|| tower(plain(), &x, layers, Compute::default())).unwrap();
    assert!(!out.track_op());
}

/// Single layers, each with all its gradients.
pub(crate) fn layers_agree(primitives: &Arc<dyn Primitives>, compute: Compute, share: f32) {
    let mut draws = Draws::new();
    let x = draws.tensor(&[2, 5, DIM]);
    let layer = draws.affine(&[HIDDEN, DIM]);
    let norm = draws.affine(&[DIM]);
    let wide = draws.tensor(&[2, 5, HIDDEN]).detach();
    let same = draws.tensor(&[2, 5, DIM]).detach();
    let p = || primitives.clone();

    let of = [x.clone(), layer.weight.clone(), layer.bias.clone()];
    let expected =
        passes(&of, &wide, || crate::linear(&x, &layer.weight, Some(&layer.bias), compute));
    let found = passes(&of, &wide, || linear(p(), &x, &layer.weight, &layer.bias));
    compare(found, expected, share);

    let of = [x.clone(), norm.weight.clone(), norm.bias.clone()];
    let expected =
        passes(&of, &same, || crate::layer_norm(&x, &norm.weight, &norm.bias, 1e-6, compute));
    let found = passes(&of, &same, || layer_norm(p(), &x, &norm.weight, &norm.bias, 1e-6));
    compare(found, expected, FP32);

    let of = [x.clone()];
    let expected = passes(&of, &same, || crate::gelu(&x, compute));
    compare(passes(&of, &same, || gelu(p(), &x)), expected, FP32);

    let qkv = draws.tensor(&[2, 5, 3 * DIM]);
    let of = [qkv.clone()];
    let heads = Heads { batch: 2, tokens: 5, heads: 3, width: DIM / 3 };
    let expected = passes(&of, &same, || crate::attention(&qkv, 3, compute));
    compare(passes(&of, &same, || attention(p(), &qkv, heads)), expected, share);
}

#[test]
fn single_layers_are_those_of_the_cpu() {
    layers_agree(&plain(), Compute::default(), FP32);
}
