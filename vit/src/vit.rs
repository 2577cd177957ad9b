use candle_core::Tensor;
use longmae_ops::{Compute, Init, Params, prepend_class};
use longmae_patching::{PatchEmbed, PatchGrid, Tokenizer, sincos_positions};

use crate::{Backbone, Block, DropPath, Norm, Result, VitConfig};

/// A plain Vision Transformer that can be shown a part of its tokens: MAE's encoder.
///
/// Its parameters have MAE's names: `cls_token`, `pos_embed` (fixed), `patch_embed.proj`, `blocks.N`, `norm`.
#[derive(Debug, Clone)]
pub struct Vit {
    config: VitConfig,
    patch_embed: PatchEmbed,
    cls_token: Tensor,
    pos_embed: Tensor,
    blocks: Vec<Block>,
    norm: Norm,
    compute: Compute,
}

impl Vit {
    /// Defines the encoder's parameters.
    ///
    /// # Errors
    /// When the sizes make no transformer or a parameter's name is taken.
    pub fn new(config: VitConfig, params: &Params) -> Result<Self> {
        let VitConfig { grid, channels, tower } = config;
        tower.check()?;
        let positions = sincos_positions(tower.dim, grid, &params.device())?;
        Ok(Self {
            config,
            cls_token: params.weight("cls_token", (1, 1, tower.dim), Init::Normal { std: 0.02 })?,
            pos_embed: params.fixed("pos_embed", &positions)?,
            patch_embed: PatchEmbed::new(grid, channels, tower.dim, &params.pp("patch_embed"))?,
            blocks: Block::tower(&tower, &params.pp("blocks"))?,
            norm: Norm::new(tower.dim, tower.layer_norm_eps, &params.pp("norm"))?,
            compute: params.compute(),
        })
    }

    /// The configuration it was built from.
    pub fn config(&self) -> &VitConfig {
        &self.config
    }

    /// Encodes the patches `visible` `[batch, kept]` (u32) of `images` `[batch, channels, height, width]`, or
    /// all of them, to `[batch, 1 + kept, dim]`, class token first, after the final norm.
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
        self.norm.forward(&x)
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
        let block = name
            .strip_prefix("blocks.")
            .and_then(|rest| rest.split('.').next()?.parse::<usize>().ok());
        match block {
            Some(block) if block < self.config.tower.depth => block + 1,
            _ if ["cls_token", "pos_embed"].contains(&name) || name.starts_with("patch_embed") => 0,
            _ => self.layers() - 1,
        }
    }

    fn no_weight_decay(&self) -> &'static [&'static str] {
        &["cls_token", "pos_embed"]
    }
}
