use candle_core::{Device, Tensor};
use longmae_ops::{Compute, Init, Params, prepend_class};
use longmae_patching::{PatchEmbed, PatchGrid, Tokenizer, sincos_positions};

use crate::backbone::layer_id;
use crate::{Backbone, Block, DropPath, Norm, Result, VitConfig};

/// What differs between MAE's encoder, which the default is, and what is built on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VitOptions {
    /// Whether a layer norm (`norm`) follows the last block. Without it the tokens are given as the block left them, for
    /// heads that have a norm of their own.
    pub final_norm: bool,
    /// Whether `pos_embed` is trained, as timm does it; it starts from the sin-cos positions all the same.
    pub trainable_positions: bool,
}

impl Default for VitOptions {
    /// MAE's encoder: a final norm, fixed positions.
    fn default() -> Self {
        Self { final_norm: true, trainable_positions: false }
    }
}

/// A plain Vision Transformer that can be shown a part of its tokens: MAE's encoder.
///
/// Its parameters have MAE's names: `cls_token`, `pos_embed` (fixed), `patch_embed.proj`, `blocks.N`, `norm`.
/// [`VitOptions`] change that.
#[derive(Debug, Clone)]
pub struct Vit {
    config: VitConfig,
    patch_embed: PatchEmbed,
    cls_token: Tensor,
    pos_embed: Tensor,
    blocks: Vec<Block>,
    norm: Option<Norm>,
    compute: Compute,
}

impl Vit {
    /// Defines the parameters of MAE's encoder.
    ///
    /// # Errors
    /// When the sizes make no transformer or a parameter's name is taken.
    pub fn new(config: VitConfig, params: &Params) -> Result<Self> {
        Self::new_with(config, VitOptions::default(), params)
    }

    /// Defines the parameters of an encoder with other options.
    ///
    /// # Errors
    /// When the sizes make no transformer or a parameter's name is taken.
    pub fn new_with(config: VitConfig, options: VitOptions, params: &Params) -> Result<Self> {
        let VitConfig { grid, channels, tower } = config;
        tower.check()?;
        let positions = sincos_positions(tower.dim, grid, &params.device())?;
        let norm = || Norm::new(tower.dim, tower.layer_norm_eps, &params.pp("norm"));
        Ok(Self {
            config,
            cls_token: params.weight("cls_token", (1, 1, tower.dim), Init::Normal { std: 0.02 })?,
            pos_embed: match options.trainable_positions {
                true => params.weight_from("pos_embed", &positions)?,
                false => params.fixed("pos_embed", &positions)?,
            },
            patch_embed: PatchEmbed::new(grid, channels, tower.dim, &params.pp("patch_embed"))?,
            blocks: Block::tower(&tower, &params.pp("blocks"))?,
            norm: options.final_norm.then(norm).transpose()?,
            compute: params.compute(),
        })
    }

    /// The configuration it was built from.
    pub fn config(&self) -> &VitConfig {
        &self.config
    }

    /// Where the parameters live, and images must.
    pub fn device(&self) -> &Device {
        self.cls_token.device()
    }

    /// Encodes the patches `visible` `[batch, kept]` (u32) of `images` `[batch, channels, height, width]`, or
    /// all of them, to `[batch, 1 + kept, dim]`, class token first, after the final norm if there is one.
    ///
    /// # Errors
    /// When images, positions or drop path do not fit the model.
    pub fn encode(
        &self,
        images: &Tensor,
        visible: Option<&Tensor>,
        drop: Option<&DropPath>,
    ) -> Result<Tensor> {
        let patches = self.patch_embed.tokens(images, visible)?;
        let mut x =
            prepend_class(&patches, &self.cls_token, &self.pos_embed, visible, self.compute)?;
        x = Block::forward_tower(&self.blocks, &x, drop)?;
        match &self.norm {
            Some(norm) => norm.forward(&x),
            None => Ok(x),
        }
    }

    /// How much the class token attends to itself and to each patch of whole images `[batch, channels, height, width]` in
    /// the last block: `[batch, heads, 1 + patches]`, summing up to 1 over tokens. It is there to be looked at.
    ///
    /// # Errors
    /// When the images do not fit the model.
    pub fn class_attention(&self, images: &Tensor) -> Result<Tensor> {
        let patches = self.patch_embed.tokens(images, None)?;
        let x = prepend_class(&patches, &self.cls_token, &self.pos_embed, None, self.compute)?;
        let Some((last, before)) = self.blocks.split_last() else {
            return Err(crate::Error::Zero("depth"));
        };
        last.weights_of_first(&Block::forward_tower(before, &x, None)?)
    }
}

impl Backbone for Vit {
    fn features(&self, images: &Tensor) -> Result<Tensor> {
        self.encode(images, None, None)
    }

    fn prefix_tokens(&self) -> usize {
        1
    }

    fn grid(&self) -> PatchGrid {
        self.config.grid
    }

    fn dim(&self) -> usize {
        self.config.tower.dim
    }

    fn layers(&self) -> usize {
        self.config.tower.depth + 2
    }

    fn layer_id(&self, name: &str) -> usize {
        layer_id(name, self.config.tower.depth)
    }

    fn no_weight_decay(&self) -> &'static [&'static str] {
        &["cls_token", "pos_embed"]
    }
}
