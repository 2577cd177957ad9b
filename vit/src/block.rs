use candle_core::Tensor;
use longmae_ops::Params;

use crate::{Attention, DropPath, Mlp, Norm, Result, TowerConfig};

/// A pre-norm transformer block: `x + attn(norm1(x))`, then `x + mlp(norm2(x))`.
#[derive(Debug, Clone)]
pub struct Block {
    norm1: Norm,
    attn: Attention,
    norm2: Norm,
    mlp: Mlp,
}

impl Block {
    /// Defines one block.
    ///
    /// # Errors
    /// When a parameter's name is taken.
    pub fn new(config: &TowerConfig, params: &Params) -> Result<Self> {
        Ok(Self {
            norm1: Norm::new(config.dim, config.layer_norm_eps, &params.pp("norm1"))?,
            attn: Attention::new(config, &params.pp("attn"))?,
            norm2: Norm::new(config.dim, config.layer_norm_eps, &params.pp("norm2"))?,
            mlp: Mlp::new(config, &params.pp("mlp"))?,
        })
    }

    /// The blocks of a tower, named `0`, `1`, ... under `params`.
    ///
    /// # Errors
    /// When the sizes make no transformer or a parameter's name is taken.
    pub fn tower(config: &TowerConfig, params: &Params) -> Result<Vec<Self>> {
        config.check()?;
        (0..config.depth).map(|i| Self::new(config, &params.pp(i))).collect()
    }

    /// Maps tokens `[batch, tokens, dim]` to the same shape.
    ///
    /// `drop` holds the drop-path draws and this block's place in its tower.
    ///
    /// # Errors
    /// When the shapes do not fit.
    pub fn forward(&self, x: &Tensor, drop: Option<(&DropPath, usize)>) -> Result<Tensor> {
        let scaled = |branch: usize, y: Tensor| match drop {
            Some((drop, block)) => drop.apply(2 * block + branch, &y),
            None => Ok(y),
        };
        let x = (x + scaled(0, self.attn.forward(&self.norm1.forward(x)?)?)?)?;
        Ok((&x + scaled(1, self.mlp.forward(&self.norm2.forward(&x)?)?)?)?)
    }
}
