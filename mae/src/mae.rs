use candle_core::{Device, Tensor};
use longmae_masking::MaskBatch;
use longmae_ops::{Compute, Params};
use longmae_patching::patchify;
use longmae_vit::{DropPath, Vit};

use crate::{Decoder, Error, MaeConfig, Result, masked_pixel_loss};

/// What a masked autoencoder gives for a batch.
#[derive(Debug, Clone)]
pub struct MaeOutput {
    /// The loss, a scalar.
    pub loss: Tensor,
    /// Predicted pixels of every patch, visible ones too: `[batch, predicted patches, pixels]`.
    pub pred: Tensor,
}

/// A masked autoencoder: it encodes visible patches and predicts the pixels of the hidden ones
/// (arXiv 2111.06377), with masks and sequence lengths of their own (arXiv 2210.07224).
#[derive(Debug, Clone)]
pub struct Mae {
    config: MaeConfig,
    encoder: Vit,
    decoder: Decoder,
    compute: Compute,
}

impl Mae {
    /// Defines the model's parameters.
    ///
    /// # Errors
    /// When sizes do not fit the grid or a parameter's name is taken.
    pub fn new(config: MaeConfig, params: &Params) -> Result<Self> {
        Ok(Self {
            config,
            encoder: Vit::new(config.encoder, params)?,
            decoder: Decoder::new(&config, params)?,
            compute: params.compute(),
        })
    }

    /// The configuration it was built from.
    pub fn config(&self) -> &MaeConfig {
        &self.config
    }

    /// The encoder, which goes on to other tasks.
    pub fn encoder(&self) -> &Vit {
        &self.encoder
    }

    /// Where the parameters live, and images and masks must.
    pub fn device(&self) -> &Device {
        self.encoder.device()
    }

    /// Encodes, decodes and compares: `images` `[batch, channels, height, width]` with a mask plan each.
    ///
    /// # Errors
    /// When images, masks or drop path do not fit the model.
    pub fn forward(
        &self,
        images: &Tensor,
        masks: &MaskBatch,
        drop: Option<&DropPath>,
    ) -> Result<MaeOutput> {
        let latent = self.encode(images, masks, drop)?;
        let rows = self.decoder.rows(&latent, masks)?;
        let loss = self.loss(images, &rows, masks)?;
        Ok(MaeOutput { loss, pred: self.decoder.patches(&rows)? })
    }

    /// Visible patches of `images` as `[batch, 1 + kept, encoder dim]`.
    ///
    /// # Errors
    /// When images, masks or drop path do not fit the model.
    pub fn encode(
        &self,
        images: &Tensor,
        masks: &MaskBatch,
        drop: Option<&DropPath>,
    ) -> Result<Tensor> {
        self.check(images, masks)?;
        Ok(self.encoder.encode(images, Some(&masks.ids_keep), drop)?)
    }

    /// Pixels of every patch, `[batch, predicted patches, pixels]`, from what [`Mae::encode`] gave.
    ///
    /// # Errors
    /// When `latent` and `masks` do not fit.
    pub fn decode(&self, latent: &Tensor, masks: &MaskBatch) -> Result<Tensor> {
        self.decoder.forward(latent, masks)
    }

    /// The loss of a prediction (which may have the class token's row in front), a scalar.
    ///
    /// # Errors
    /// When the shapes do not fit.
    pub fn loss(&self, images: &Tensor, pred: &Tensor, masks: &MaskBatch) -> Result<Tensor> {
        let patches = patchify(images, self.config.pred_grid()?)?;
        let grid = (self.config.encoder.grid, self.config.decoder.pred_downsampling);
        masked_pixel_loss(
            pred,
            &patches,
            &masks.mask,
            grid,
            self.config.norm_pix_loss,
            self.compute,
        )
    }

    fn check(&self, images: &Tensor, masks: &MaskBatch) -> Result<()> {
        let expected = vec![images.dim(0)?, self.config.encoder.grid.len()];
        for found in [&masks.ids_restore, &masks.mask] {
            if found.dims() != expected {
                return Err(Error::MaskShape { found: found.dims().to_vec(), expected });
            }
        }
        Ok(())
    }
}
