use longmae_patching::PatchGrid;
use longmae_vit::{Preset, TowerConfig, VitConfig};

use crate::{Error, Result};

/// The decoder: its blocks and the length of its sequence and prediction.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DecoderConfig {
    /// The blocks.
    pub tower: TowerConfig,
    /// Side of the squares of tokens that become one before the blocks (arXiv 2210.07224, "shorter
    /// decoder"); 1 keeps the sequence.
    pub downsampling: usize,
    /// Side of the squares of patches that are predicted as one; 1 predicts patch by patch.
    pub pred_downsampling: usize,
}

impl DecoderConfig {
    /// A decoder on the whole sequence that predicts patch by patch.
    pub fn new(tower: TowerConfig) -> Self {
        Self { tower, downsampling: 1, pred_downsampling: 1 }
    }
}

/// The decoder that belongs to an encoder preset: the published one for base, large and huge.
pub fn decoder_preset(preset: Preset) -> TowerConfig {
    match preset {
        Preset::Nano => TowerConfig::new(64, 2, 4),
        Preset::Tiny => TowerConfig::new(128, 4, 4),
        Preset::Small => TowerConfig::new(256, 8, 8),
        Preset::Base | Preset::Large | Preset::Huge => TowerConfig::new(512, 8, 16),
    }
}

/// A masked autoencoder.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MaeConfig {
    /// The encoder, with grid and channels.
    pub encoder: VitConfig,
    /// The decoder.
    pub decoder: DecoderConfig,
    /// Whether target pixels are normalised patch by patch.
    pub norm_pix_loss: bool,
}

impl MaeConfig {
    /// A preset with its own decoder and normalised targets, as MAE pre-trains.
    pub fn preset(preset: Preset, grid: PatchGrid, channels: usize) -> Self {
        Self {
            encoder: VitConfig { grid, channels, tower: preset.tower() },
            decoder: DecoderConfig::new(decoder_preset(preset)),
            norm_pix_loss: true,
        }
    }

    /// The grid of the decoder's sequence.
    ///
    /// # Errors
    /// When decoder downsampling does not divide the patch grid.
    pub fn decoder_grid(&self) -> Result<PatchGrid> {
        self.coarser("decoder downsampling", self.decoder.downsampling)
    }

    /// The grid of the predicted patches.
    ///
    /// # Errors
    /// When prediction downsampling does not divide the patch grid.
    pub fn pred_grid(&self) -> Result<PatchGrid> {
        self.coarser("prediction downsampling", self.decoder.pred_downsampling)
    }

    /// The factor from the decoder's tokens back to predicted patches.
    ///
    /// # Errors
    /// When prediction downsampling does not divide decoder downsampling.
    pub fn upsampling(&self) -> Result<usize> {
        let (decoder, prediction) = (self.decoder.downsampling, self.decoder.pred_downsampling);
        if prediction == 0 || !decoder.is_multiple_of(prediction) {
            return Err(Error::Quotient { decoder, prediction });
        }
        Ok(decoder / prediction)
    }

    fn coarser(&self, what: &'static str, factor: usize) -> Result<PatchGrid> {
        let grid = self.encoder.grid;
        let (rows, cols) = (grid.rows(), grid.cols());
        grid.coarser(factor).ok_or(Error::Downsampling { what, factor, rows, cols })
    }
}
