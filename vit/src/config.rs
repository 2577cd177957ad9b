use longmae_patching::PatchGrid;

use crate::{Error, Result};

/// The sizes of a stack of transformer blocks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TowerConfig {
    /// Width of a token.
    pub dim: usize,
    /// Number of blocks.
    pub depth: usize,
    /// Attention heads; they divide the width.
    pub heads: usize,
    /// Hidden width of the MLP as a multiple of `dim`.
    pub mlp_ratio: f64,
    /// Whether keys have a bias (the published long-sequence code can leave it out).
    pub key_bias: bool,
    /// Added to the variance in layer norms.
    pub layer_norm_eps: f64,
}

impl TowerConfig {
    /// A tower of the given sizes with MAE's other settings: MLP ratio 4, key bias, eps 1e-6.
    pub fn new(dim: usize, depth: usize, heads: usize) -> Self {
        Self { dim, depth, heads, mlp_ratio: 4.0, key_bias: true, layer_norm_eps: 1e-6 }
    }

    /// Hidden width of the MLP.
    pub fn hidden(&self) -> usize {
        (self.dim as f64 * self.mlp_ratio) as usize
    }

    /// Checks that the sizes make a transformer.
    ///
    /// # Errors
    /// When a size is zero or the heads do not divide the width.
    pub fn check(&self) -> Result<()> {
        for (size, name) in [
            (self.dim, "width"),
            (self.depth, "depth"),
            (self.heads, "number of heads"),
            (self.hidden(), "MLP width"),
        ] {
            if size == 0 {
                return Err(Error::Zero(name));
            }
        }
        if !self.dim.is_multiple_of(self.heads) {
            return Err(Error::Heads { heads: self.heads, dim: self.dim });
        }
        Ok(())
    }
}

/// A plain Vision Transformer over one grid.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct VitConfig {
    /// How images are cut.
    pub grid: PatchGrid,
    /// Channels of an image.
    pub channels: usize,
    /// The blocks.
    pub tower: TowerConfig,
}
