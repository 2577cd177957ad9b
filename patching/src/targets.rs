use candle_core::Tensor;
use longmae_ops::reference::{gather_tokens, normalised_patches};

use crate::{PatchGrid, Result, Tokenizer, patchify};

/// The pixels that a masked autoencoder predicts, raw or normalised patch by patch (`norm_pix_loss`).
#[derive(Debug, Clone, Copy)]
pub struct PixelTargets {
    grid: PatchGrid,
    channels: usize,
    norm_pix: bool,
}

impl PixelTargets {
    /// Targets on `grid`; with `norm_pix` each patch has its mean taken off and is divided by the root of
    /// its unbiased variance.
    pub fn new(grid: PatchGrid, channels: usize, norm_pix: bool) -> Self {
        Self { grid, channels, norm_pix }
    }
}

impl Tokenizer for PixelTargets {
    fn tokens(&self, images: &Tensor, positions: Option<&Tensor>) -> Result<Tensor> {
        let mut patches = patchify(images, self.grid)?;
        if let Some(ids) = positions {
            patches = gather_tokens(&patches, ids)?;
        }
        Ok(if self.norm_pix { normalised_patches(&patches)? } else { patches })
    }

    fn width(&self) -> usize {
        self.grid.patch().pow(2) * self.channels
    }
}
