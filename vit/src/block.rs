use candle_core::Tensor;
use longmae_ops::{BlockWeights, Compute, Params, transformer_blocks};

use crate::{Attention, DropPath, Mlp, Norm, Result, TowerConfig};

/// A pre-norm transformer block: `x + attn(norm1(x))`, then `x + mlp(norm2(x))`.
#[derive(Debug, Clone)]
pub struct Block {
    norm1: Norm,
    attn: Attention,
    norm2: Norm,
    mlp: Mlp,
    eps: f64,
    compute: Compute,
}

impl Block {
    /// Defines one block.
    ///
    /// # Errors
    /// When a parameter's name is taken.
    pub fn new(config: &TowerConfig, params: &Params) -> Result<Self> {
        Self::with(Attention::new(config, &params.pp("attn"))?, config, params)
    }

    /// Defines a block around this attention.
    ///
    /// # Errors
    /// When a parameter's name is taken.
    pub(crate) fn with(attn: Attention, config: &TowerConfig, params: &Params) -> Result<Self> {
        Ok(Self {
            norm1: Norm::new(config.dim, config.layer_norm_eps, &params.pp("norm1"))?,
            attn,
            norm2: Norm::new(config.dim, config.layer_norm_eps, &params.pp("norm2"))?,
            mlp: Mlp::new(config, &params.pp("mlp"))?,
            eps: config.layer_norm_eps,
            compute: params.compute(),
        })
    }

    /// The same block on another grid, if its attention is on one.
    pub(crate) fn on_grid(&self, sides: (usize, usize)) -> Self {
        let mut block = self.clone();
        if let Some(grid) = &mut block.attn.grid {
            grid.grid = sides;
        }
        block
    }

    /// The blocks of a tower, named `0`, `1`, ... under `params`.
    ///
    /// # Errors
    /// When the sizes make no transformer or a parameter's name is taken.
    pub fn tower(config: &TowerConfig, params: &Params) -> Result<Vec<Self>> {
        config.check()?;
        (0..config.depth).map(|i| Self::new(config, &params.pp(i))).collect()
    }

    /// Maps tokens `[batch, tokens, dim]` through all blocks of a tower, to the same shape.
    ///
    /// # Errors
    /// When the shapes do not fit.
    pub fn forward_tower(blocks: &[Self], x: &Tensor, drop: Option<&DropPath>) -> Result<Tensor> {
        if blocks.iter().all(|block| block.fused(x)) {
            return Self::forward_fused(blocks, x, drop.map(|drop| (drop, 0)));
        }
        let mut x = x.clone();
        for (i, block) in blocks.iter().enumerate() {
            x = block.forward(&x, drop.map(|drop| (drop, i)))?;
        }
        Ok(x)
    }

    fn fused(&self, x: &Tensor) -> bool {
        self.compute.fuses_blocks(x.device(), self.attn.grid.is_some())
    }

    /// Blocks as one operation; the first one's place in its tower is beside the drop-path draws.
    fn forward_fused(
        blocks: &[Self],
        x: &Tensor,
        drop: Option<(&DropPath, usize)>,
    ) -> Result<Tensor> {
        let Some(Self { compute, .. }) = blocks.first() else { return Ok(x.clone()) };
        let scales = |i| drop.map(|(drop, first)| drop.scales(first + i)).transpose();
        let tower = blocks.iter().enumerate();
        let tower = tower.map(|(i, block)| Ok((block.weights(), scales(i)?)));
        Ok(transformer_blocks(x, tower.collect::<Result<_>>()?, *compute)?)
    }

    /// Maps tokens `[batch, tokens, dim]` to the same shape.
    ///
    /// `drop` holds the drop-path draws and this block's place in its tower.
    ///
    /// # Errors
    /// When the shapes do not fit.
    pub fn forward(&self, x: &Tensor, drop: Option<(&DropPath, usize)>) -> Result<Tensor> {
        if self.fused(x) {
            return Self::forward_fused(std::slice::from_ref(self), x, drop);
        }
        let scaled = |branch: usize, y: Tensor| match drop {
            Some((drop, block)) => drop.apply(2 * block + branch, &y),
            None => Ok(y),
        };
        let x = (x + scaled(0, self.attn.forward(&self.norm1.forward(x)?)?)?)?;
        Ok((&x + scaled(1, self.mlp.forward(&self.norm2.forward(&x)?)?)?)?)
    }

    /// How much the first token of `x` `[batch, tokens, dim]` attends to each in this block, `[batch, heads, tokens]`.
    pub(crate) fn weights_of_first(&self, x: &Tensor) -> Result<Tensor> {
        self.attn.weights_of_first(&self.norm1.forward(x)?)
    }

    /// The parameters, as the fused block takes them.
    fn weights(&self) -> BlockWeights {
        BlockWeights {
            norm1: self.norm1.affine().clone(),
            qkv: self.attn.qkv.clone(),
            qkv_bias: self.attn.bias.clone(),
            proj: self.attn.proj.affine().clone(),
            norm2: self.norm2.affine().clone(),
            fc1: self.mlp.fc1.affine().clone(),
            fc2: self.mlp.fc2.affine().clone(),
            heads: self.attn.heads,
            eps: self.eps,
            grid: self.attn.grid.clone(),
        }
    }
}
