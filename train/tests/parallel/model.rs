//! A small model with every kind of gradient: of two blocks, of candle's own graph, of both, of one rank, of none.

use candle_core::{Device, Shape, Tensor, Var};
use longmae_ops::{Affine, BlockWeights, Compute, QkvBias, backward, transformer_blocks};
use longmae_train::{Gradients, NamedParam, Reducer};

const DIM: usize = 8;
const HIDDEN: usize = 16;
/// `[batch, tokens, dim]`.
const INPUT: (usize, usize, usize) = (2, 5, DIM);

/// Parameters before the blocks': `scale` is in candle's graph alone, `some` only on odd batches, `never` in none.
const PLAIN: [&str; 3] = ["scale", "some", "never"];
const OF_A_BLOCK: usize = 12;

pub struct Model {
    pub parameters: Vec<NamedParam>,
}

/// Numbers that look random and are the same everywhere.
fn numbers(shape: impl Into<Shape>, seed: usize) -> Tensor {
    let shape = shape.into();
    let values: Vec<f32> = (0..shape.elem_count())
        .map(|i| ((i * 7919 + seed * 104_729) % 1009) as f32 / 1009.0 - 0.5)
        .collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

impl Model {
    pub fn new() -> Self {
        let block: [(&str, Vec<usize>); OF_A_BLOCK] = [
            ("norm1.weight", vec![DIM]),
            ("norm1.bias", vec![DIM]),
            ("qkv.weight", vec![3 * DIM, DIM]),
            ("qkv.bias", vec![3 * DIM]),
            ("proj.weight", vec![DIM, DIM]),
            ("proj.bias", vec![DIM]),
            ("norm2.weight", vec![DIM]),
            ("norm2.bias", vec![DIM]),
            ("fc1.weight", vec![HIDDEN, DIM]),
            ("fc1.bias", vec![HIDDEN]),
            ("fc2.weight", vec![DIM, HIDDEN]),
            ("fc2.bias", vec![DIM]),
        ];
        let mut named: Vec<(String, Vec<usize>)> =
            PLAIN.iter().map(|name| ((*name).to_owned(), vec![DIM])).collect();
        for number in 0..2 {
            named.extend(
                block.iter().map(|(name, shape)| (format!("{number}.{name}"), shape.clone())),
            );
        }
        let parameter = |(i, (name, shape)): (usize, (String, Vec<usize>))| NamedParam {
            name,
            var: Var::from_tensor(&numbers(shape, i)).unwrap(),
            lr_scale: 1.0,
            decay: true,
        };
        Self { parameters: named.into_iter().enumerate().map(parameter).collect() }
    }

    fn tensor(&self, i: usize) -> Tensor {
        self.parameters[i].var.as_tensor().clone()
    }

    fn block(&self, number: usize) -> BlockWeights {
        let first = PLAIN.len() + number * OF_A_BLOCK;
        let at = |i: usize| self.tensor(first + i);
        let affine = |i: usize| Affine { weight: at(i), bias: at(i + 1) };
        BlockWeights {
            norm1: affine(0),
            qkv: at(2),
            qkv_bias: QkvBias::Full(at(3)),
            proj: affine(4),
            norm2: affine(6),
            fc1: affine(8),
            fc2: affine(10),
            heads: 2,
            eps: 1e-6,
            grid: None,
        }
    }

    /// The loss of a micro-batch; block 1 is used `times` times, and its first norm's bias by candle too.
    pub fn loss(&self, batch: usize, times: usize) -> Tensor {
        let x = numbers(INPUT, 1000 + batch).broadcast_mul(&self.tensor(0)).unwrap();
        let mut blocks = vec![(self.block(0), None)];
        blocks.resize(1 + times, (self.block(1), None));
        let out = transformer_blocks(&x, blocks, Compute::default()).unwrap();
        let mut loss = (out * numbers(INPUT, 2000 + batch)).unwrap().sum_all().unwrap();
        let mut also = vec![self.tensor(PLAIN.len() + OF_A_BLOCK + 1)];
        also.extend((batch % 2 == 1).then(|| self.tensor(1)));
        for tensor in also {
            loss = (loss + tensor.sqr().unwrap().sum_all().unwrap()).unwrap();
        }
        loss
    }

    /// Adds a micro-batch's gradients, with `share` as a factor.
    pub fn add(&self, sum: &mut Gradients, batch: usize, share: f64) {
        let store = backward(&(self.loss(batch, 1) * share).unwrap()).unwrap();
        sum.accumulate(&self.parameters, store).unwrap();
    }

    /// As [`Model::add`], as a step's last micro-batch, with block 1 used `times` times.
    pub fn add_last(
        &self,
        sum: &mut Gradients,
        (batch, times): (usize, usize),
        share: f64,
        reducer: &Reducer,
    ) {
        let loss = (self.loss(batch, times) * share).unwrap();
        let store = reducer.backward(&loss, sum).unwrap();
        sum.accumulate(&self.parameters, store).unwrap();
    }
}

/// The numbers of gradients; none where there is none.
pub fn values(gradients: &Gradients) -> Vec<Option<Vec<f32>>> {
    let numbers = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1().unwrap();
    gradients.as_slice().iter().map(|gradient| gradient.as_ref().map(numbers)).collect()
}
