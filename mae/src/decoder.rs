use candle_core::{IndexOp, Tensor};
use longmae_masking::MaskBatch;
use longmae_ops::{Compute, Init, Linear, Params, restore_tokens};
use longmae_patching::sincos_positions;
use longmae_vit::{Block, Norm};

use crate::resample::{Downsample, Upsample};
use crate::{MaeConfig, Result};

/// The decoder: visible tokens in, mask tokens put between them, pixels of every patch out.
#[derive(Debug, Clone)]
pub struct Decoder {
    embed: Linear,
    mask_token: Tensor,
    downsample: Option<Downsample>,
    pos_embed: Tensor,
    blocks: Vec<Block>,
    upsample: Option<Upsample>,
    norm: Norm,
    pred: Linear,
    /// Patches that are predicted.
    predicted: usize,
    compute: Compute,
}

impl Decoder {
    /// Defines the decoder's parameters, `mask_token` and `decoder_*`.
    ///
    /// # Errors
    /// When sizes do not fit the grid or a parameter's name is taken.
    pub fn new(config: &MaeConfig, params: &Params) -> Result<Self> {
        let tower = config.decoder.tower;
        tower.check()?;
        let (grid, channels) = (config.encoder.grid, config.encoder.channels);
        let (decoder_grid, pred_grid) = (config.decoder_grid()?, config.pred_grid()?);
        let (down, up) = (config.decoder.downsampling, config.upsampling()?);
        let dim = tower.dim;
        let pixels = pred_grid.patch().pow(2) * channels;
        let positions = sincos_positions(dim, decoder_grid, &params.device())?;
        let part = |name: &str| params.pp(format!("decoder_{name}"));
        Ok(Self {
            embed: Linear::new(config.encoder.tower.dim, dim, &part("embed"))?,
            mask_token: params.weight("mask_token", (1, 1, dim), Init::Normal { std: 0.02 })?,
            downsample: (down > 1)
                .then(|| Downsample::new(grid, down, dim, &part("downsample")))
                .transpose()?,
            upsample: (up > 1)
                .then(|| Upsample::new(decoder_grid, up, dim, &part("upsample")))
                .transpose()?,
            pos_embed: params.fixed("decoder_pos_embed", &positions)?,
            blocks: Block::tower(&tower, &part("blocks"))?,
            norm: Norm::new(dim, tower.layer_norm_eps, &part("norm"))?,
            pred: Linear::new(dim, pixels, &part("pred"))?,
            predicted: pred_grid.len(),
            compute: params.compute(),
        })
    }

    /// Predicts pixels from the encoder's output.
    ///
    /// # Shapes
    /// `latent` `[batch, 1 + kept, encoder dim]`; the result is `[batch, predicted patches, pixels]`, a patch
    /// vector in (row, column, channel) order.
    ///
    /// # Errors
    /// When `latent` and `masks` do not fit.
    pub fn forward(&self, latent: &Tensor, masks: &MaskBatch) -> Result<Tensor> {
        self.patches(&self.rows(latent, masks)?)
    }

    /// As [`Decoder::forward`], with the class token's row in front where the sequence still has it.
    pub(crate) fn rows(&self, latent: &Tensor, masks: &MaskBatch) -> Result<Tensor> {
        let visible = self.embed.forward(latent)?;
        let mut x = Block::forward_tower(&self.blocks, &self.sequence(&visible, masks)?, None)?;
        if let Some(upsample) = &self.upsample {
            x = upsample.forward(&x.i((.., 1..))?)?;
        }
        Ok(self.pred.forward(&self.norm.forward(&x)?)?)
    }

    /// The predicted patches of [`Decoder::rows`].
    pub(crate) fn patches(&self, rows: &Tensor) -> Result<Tensor> {
        let front = rows.dim(1)?.saturating_sub(self.predicted);
        Ok(rows.narrow(1, front, self.predicted)?)
    }

    /// The blocks' input: mask tokens put in, everything in the image's order, with positions.
    fn sequence(&self, visible: &Tensor, masks: &MaskBatch) -> Result<Tensor> {
        let restore = |positions| {
            restore_tokens(visible, &self.mask_token, &masks.ids_restore, positions, self.compute)
        };
        let Some(downsample) = &self.downsample else {
            return Ok(restore(Some(&self.pos_embed))?);
        };
        // The class token goes around the change of the grid.
        let all = restore(None)?;
        let tokens = downsample.forward(&all.i((.., 1..))?)?;
        Ok(Tensor::cat(&[&all.i((.., ..1))?, &tokens], 1)?.broadcast_add(&self.pos_embed)?)
    }
}
