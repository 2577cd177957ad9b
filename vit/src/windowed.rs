use candle_core::{Device, IndexOp, Tensor};
use longmae_ops::Params;
use longmae_patching::{
    PatchEmbed, PatchGrid, Resample, Tokenizer, resize_positions, sincos_positions,
};

use crate::backbone::layer_id;
use crate::{Attention, Backbone, Block, DropPath, Error, Result, TowerConfig};

/// The sizes of a [`WindowedVit`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WindowedVitConfig {
    /// How images are cut.
    pub grid: PatchGrid,
    /// The grid that the positions are of: that of pre-training.
    pub pretrain_grid: PatchGrid,
    /// Channels of an image.
    pub channels: usize,
    /// The blocks.
    pub tower: TowerConfig,
    /// Side of a window in tokens.
    pub window: usize,
    /// How many blocks attend to the whole grid, spread evenly, the last block among them.
    pub global_blocks: usize,
}

impl WindowedVitConfig {
    /// ViTDet's settings (arXiv 2203.16527): colour images, windows of 14 x 14 tokens, four global blocks.
    pub fn new(grid: PatchGrid, pretrain_grid: PatchGrid, tower: TowerConfig) -> Self {
        Self { grid, pretrain_grid, channels: 3, tower, window: 14, global_blocks: 4 }
    }

    /// Whether a block attends to the whole grid.
    pub fn is_global(&self, block: usize) -> bool {
        let (blocks, depth) = (self.global_blocks, self.tower.depth.max(1));
        (block + 1) * blocks / depth > block * blocks / depth
    }

    fn check(&self) -> Result<()> {
        self.tower.check()?;
        let depth = self.tower.depth;
        match (self.window, self.global_blocks) {
            (0, _) => Err(Error::Zero("window")),
            (_, blocks) if blocks > depth => Err(Error::GlobalBlocks { blocks, depth }),
            _ => Ok(()),
        }
    }
}

/// The Vision Transformer of ViTDet (arXiv 2203.16527): most blocks attend within windows, some to the whole image; all have
/// relative positions, which start at zero; absolute positions are resized from the grid of pre-training.
///
/// Its parameters have detectron2's names, which are MAE's: `pos_embed` (with the class token's row, which is not used),
/// `patch_embed.proj`, `blocks.N`, and in these `attn.rel_pos_h` and `attn.rel_pos_w`. There is no class token and no final
/// norm.
#[derive(Debug, Clone)]
pub struct WindowedVit {
    config: WindowedVitConfig,
    patch_embed: PatchEmbed,
    pos_embed: Tensor,
    blocks: Vec<Block>,
}

impl WindowedVit {
    /// Defines the parameters.
    ///
    /// # Errors
    /// When the sizes make no transformer or a parameter's name is taken.
    pub fn new(config: WindowedVitConfig, params: &Params) -> Result<Self> {
        config.check()?;
        let WindowedVitConfig { grid, pretrain_grid, channels, tower, window, .. } = config;
        let positions = sincos_positions(tower.dim, pretrain_grid, &params.device())?;
        let block = |i: usize| {
            let params = params.pp("blocks").pp(i);
            let window = (!config.is_global(i)).then_some(window);
            let sides = (grid.rows(), grid.cols());
            let attention = Attention::on_grid(&tower, sides, window, &params.pp("attn"))?;
            Block::with(attention, &tower, &params)
        };
        Ok(Self {
            config,
            pos_embed: params.weight_from("pos_embed", &positions)?,
            patch_embed: PatchEmbed::new(grid, channels, tower.dim, &params.pp("patch_embed"))?,
            blocks: (0..tower.depth).map(block).collect::<Result<_>>()?,
        })
    }

    /// The configuration it was built from.
    pub fn config(&self) -> &WindowedVitConfig {
        &self.config
    }

    /// Where the parameters live, and images must.
    pub fn device(&self) -> &Device {
        self.pos_embed.device()
    }

    /// The same weights for images of another grid: the tables of relative positions of global blocks are resized linearly,
    /// as detectron2 does.
    ///
    /// # Errors
    /// When its patches are of another size.
    pub fn on_grid(&self, grid: PatchGrid) -> Result<Self> {
        let sides = (grid.rows(), grid.cols());
        Ok(Self {
            config: WindowedVitConfig { grid, ..self.config },
            patch_embed: self.patch_embed.on_grid(grid)?,
            pos_embed: self.pos_embed.clone(),
            blocks: self.blocks.iter().map(|block| block.on_grid(sides)).collect(),
        })
    }

    /// Encodes images `[batch, channels, height, width]` to `[batch, patches, dim]`.
    ///
    /// # Errors
    /// When images or drop path do not fit the model.
    pub fn encode(&self, images: &Tensor, drop: Option<&DropPath>) -> Result<Tensor> {
        let WindowedVitConfig { grid, pretrain_grid, .. } = self.config;
        let positions = resize_positions(&self.pos_embed, pretrain_grid, grid, Resample::Bicubic)?;
        let patches = self.patch_embed.tokens(images, None)?;
        let x = patches.broadcast_add(&positions.i((.., 1..))?)?;
        Block::forward_tower(&self.blocks, &x, drop)
    }
}

impl Backbone for WindowedVit {
    fn features(&self, images: &Tensor) -> Result<Tensor> {
        self.encode(images, None)
    }

    fn prefix_tokens(&self) -> usize {
        0
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
        &["pos_embed"]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Preset;

    fn config(preset: Preset) -> WindowedVitConfig {
        let grid = |side| PatchGrid::new((side, side), 16).unwrap();
        WindowedVitConfig::new(grid(1024), grid(224), preset.tower())
    }

    #[test]
    fn global_blocks_are_detectron2s() {
        let global = |preset| {
            let config = config(preset);
            (0..config.tower.depth).filter(|i| config.is_global(*i)).collect::<Vec<_>>()
        };
        assert_eq!(global(Preset::Base), [2, 5, 8, 11]);
        assert_eq!(global(Preset::Large), [5, 11, 17, 23]);
        assert_eq!(global(Preset::Huge), [7, 15, 23, 31]);
        assert_eq!(global(Preset::Nano), [1, 2, 4, 5]);
    }

    #[test]
    fn sizes_that_make_no_windowed_transformer_are_refused() {
        let config = config(Preset::Nano);
        assert!(config.check().is_ok());
        assert!(WindowedVitConfig { window: 0, ..config }.check().is_err());
        let error = WindowedVitConfig { global_blocks: 7, ..config }.check().unwrap_err();
        assert_eq!(error.to_string(), "7 global blocks of 6 blocks");
    }
}
