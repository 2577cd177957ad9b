use candle_core::{D, Tensor};
use longmae_ops::gather_tokens;

use crate::{PatchGrid, Result, Tokenizer, patchify};

/// Added to the variance under the root (arXiv 2111.06377, reference implementation).
const VARIANCE_EPS: f64 = 1e-6;

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
        if !self.norm_pix {
            return Ok(patches);
        }
        let centred = patches.broadcast_sub(&patches.mean_keepdim(D::Minus1)?)?;
        // A patch of a single value has no variance: its target is zero.
        let freedom = self.width().saturating_sub(1).max(1);
        let variance = (centred.sqr()?.sum_keepdim(D::Minus1)? / freedom as f64)?;
        Ok(centred.broadcast_div(&(variance + VARIANCE_EPS)?.sqrt()?)?)
    }

    fn width(&self) -> usize {
        self.grid.patch().pow(2) * self.channels
    }
}
