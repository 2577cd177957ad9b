//! A transformer block's weights, and the block composed of plain operations.

use candle_core::{Result, Tensor};
use longmae_ops::{Affine, BlockWeights, QkvBias, reference};

use super::random;

#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    pub batch: usize,
    pub tokens: usize,
    pub dim: usize,
    pub hidden: usize,
    pub heads: usize,
    /// Whether keys have a bias.
    pub key_bias: bool,
}

pub const SMALL: Sizes =
    Sizes { batch: 3, tokens: 7, dim: 24, hidden: 40, heads: 3, key_bias: true };
pub const LARGE: Sizes =
    Sizes { batch: 2, tokens: 65, dim: 64, hidden: 256, heads: 4, key_bias: true };

pub type Scales = [Vec<f32>; 2];

impl Sizes {
    pub fn without_key_bias(self) -> Self {
        Self { key_bias: false, ..self }
    }

    /// Scales of drop path, a dropped branch among them.
    pub fn scales(&self) -> Scales {
        let scale = |i: usize| [1.25, 0.0, 1.5][i % 3];
        [(0..self.batch).map(scale).collect(), (1..=self.batch).map(scale).collect()]
    }

    pub fn x(&self) -> Tensor {
        random((self.batch, self.tokens, self.dim), 7)
    }

    /// What [`weights`](Self::weights) takes: norms, projections, MLP, and last the bias of queries, keys, values.
    pub fn tensors(&self) -> Vec<Tensor> {
        let Self { dim, hidden, .. } = *self;
        let matrix = |rows, cols: usize, seed| {
            (random((rows, cols), seed) * (0.75 / (cols as f64).sqrt())).unwrap()
        };
        let vector = |len: usize, seed| (random(len, seed) * 0.5).unwrap();
        let scale = |seed| (vector(dim, seed) + 1.0).unwrap();
        let mut all = vec![scale(11), vector(dim, 12), scale(13), vector(dim, 14)];
        all.extend([matrix(3 * dim, dim, 15), matrix(dim, dim, 16), vector(dim, 17)]);
        all.extend([matrix(hidden, dim, 18), vector(hidden, 19)]);
        all.extend([matrix(dim, hidden, 20), vector(dim, 21)]);
        match self.key_bias {
            true => all.push(vector(3 * dim, 22)),
            false => all.extend([vector(dim, 23), vector(dim, 24)]),
        }
        all
    }

    pub fn weights(&self, tensors: &[Tensor]) -> BlockWeights {
        let affine = |i: usize| Affine { weight: tensors[i].clone(), bias: tensors[i + 1].clone() };
        let qkv_bias = match &tensors[11..] {
            [bias] => QkvBias::Full(bias.clone()),
            [query, value] => QkvBias::NoKey { query: query.clone(), value: value.clone() },
            other => panic!("{} biases", other.len()),
        };
        BlockWeights {
            norm1: affine(0),
            norm2: affine(2),
            qkv: tensors[4].clone(),
            proj: affine(5),
            fc1: affine(7),
            fc2: affine(9),
            qkv_bias,
            heads: self.heads,
            eps: 1e-6,
            grid: None,
        }
    }
}

/// The block, layer by layer.
pub fn plain(x: &Tensor, weights: &BlockWeights, scales: Option<&Scales>) -> Result<Tensor> {
    composed(x, weights, scales, |x| {
        let bias = weights.qkv_bias.tensor()?;
        let qkv = reference::linear(x, &weights.qkv, Some(&bias))?;
        reference::attention(&qkv, weights.heads)
    })
}

/// The block on a grid, layer by layer: windows are cut, filled with zeros and put together as detectron2 does.
pub fn window_block(x: &Tensor, weights: &BlockWeights, scales: Option<&Scales>) -> Result<Tensor> {
    let grid = weights.grid.as_ref().expect("a grid");
    composed(x, weights, scales, |x| {
        let ((rows, cols), bias) = (grid.grid, weights.qkv_bias.tensor()?);
        let (batch, _, dim) = x.dims3()?;
        let attend = |x: &Tensor, sides| {
            let qkv = reference::linear(x, &weights.qkv, Some(&bias))?;
            match &grid.rel_pos {
                Some(tables) => {
                    reference::attention_with_positions(&qkv, weights.heads, sides, tables)
                }
                None => reference::attention(&qkv, weights.heads),
            }
        };
        let Some(side) = grid.window else { return attend(x, grid.grid) };
        let (down, across) = (rows.div_ceil(side), cols.div_ceil(side));
        let x = x.reshape((batch, rows, cols, dim))?;
        let x = x.pad_with_zeros(1, 0, down * side - rows)?;
        let x = x.pad_with_zeros(2, 0, across * side - cols)?;
        let x =
            x.reshape((batch * down, side, across, side, dim))?.transpose(1, 2)?.contiguous()?;
        let x = attend(&x.reshape((batch * down * across, side * side, dim))?, (side, side))?;
        let x =
            x.reshape((batch * down, across, side, side, dim))?.transpose(1, 2)?.contiguous()?;
        let x = x.reshape((batch, down * side, across * side, dim))?;
        x.narrow(1, 0, rows)?.narrow(2, 0, cols)?.contiguous()?.reshape((batch, rows * cols, dim))
    })
}

fn composed(
    x: &Tensor,
    weights: &BlockWeights,
    scales: Option<&Scales>,
    attend: impl Fn(&Tensor) -> Result<Tensor>,
) -> Result<Tensor> {
    let linear =
        |x: &Tensor, layer: &Affine| reference::linear(x, &layer.weight, Some(&layer.bias));
    let norm =
        |x: &Tensor, norm: &Affine| reference::layer_norm(x, &norm.weight, &norm.bias, weights.eps);
    let mixed = linear(&attend(&norm(x, &weights.norm1)?)?, &weights.proj)?;
    let x = (x + scaled(mixed, scales, 0)?)?;
    let hidden = linear(&norm(&x, &weights.norm2)?, &weights.fc1)?.gelu_erf()?;
    &x + scaled(linear(&hidden, &weights.fc2)?, scales, 1)?
}

fn scaled(branch: Tensor, scales: Option<&Scales>, which: usize) -> Result<Tensor> {
    let Some(scales) = scales else { return Ok(branch) };
    let batch = branch.dim(0)?;
    let scale = Tensor::from_vec(scales[which].clone(), (batch, 1, 1), branch.device())?;
    branch.broadcast_mul(&scale.to_dtype(branch.dtype())?)
}
