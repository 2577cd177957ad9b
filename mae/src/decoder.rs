use candle_core::{IndexOp, Tensor};
use longmae_masking::MaskBatch;
use longmae_ops::{Init, Linear, Params, gather_tokens};
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
        let x = self.embed.forward(latent)?;
        let class = x.i((.., ..1))?;
        let mut x = self.fill_in(&x.i((.., 1..))?, masks)?;
        if let Some(downsample) = &self.downsample {
            x = downsample.forward(&x)?;
        }
        // The class token goes around both changes of the grid.
        x = Tensor::cat(&[&class, &x], 1)?.broadcast_add(&self.pos_embed)?;
        for block in &self.blocks {
            x = block.forward(&x, None)?;
        }
        x = x.i((.., 1..))?;
        if let Some(upsample) = &self.upsample {
            x = upsample.forward(&x)?;
        }
        Ok(self.pred.forward(&self.norm.forward(&x)?)?)
    }

    /// Puts mask tokens behind the visible ones and the sequence back in the image's order.
    fn fill_in(&self, visible: &Tensor, masks: &MaskBatch) -> Result<Tensor> {
        let (batch, kept, dim) = visible.dims3()?;
        let hidden = masks.ids_restore.dim(1)?.saturating_sub(kept);
        let fill = self.mask_token.broadcast_as((batch, hidden, dim))?;
        let shuffled = Tensor::cat(&[visible, &fill], 1)?;
        Ok(gather_tokens(&shuffled, &masks.ids_restore)?)
    }
}
