use candle_core::Tensor;
use longmae_patching::PatchGrid;

use crate::Result;

/// What transfer needs to know of an encoder, whatever its inside.
pub trait Backbone {
    /// Features of whole images `[batch, channels, height, width]`: `[batch, prefix_tokens + patches, dim]`, patches row by
    /// row.
    ///
    /// # Errors
    /// When the images do not fit the grid.
    fn features(&self, images: &Tensor) -> Result<Tensor>;

    /// How many tokens come before the patches: 1 with a class token, else 0.
    fn prefix_tokens(&self) -> usize;

    /// The patch grid; its patch size is the features' stride in pixels.
    fn grid(&self) -> PatchGrid;

    /// Width of a feature.
    fn dim(&self) -> usize;

    /// Number of layers for layer-wise learning-rate decay: patch embedding, blocks, and what follows them.
    fn layers(&self) -> usize;

    /// The layer that a parameter belongs to, from 0 (embedding) to `layers() - 1` (norm and heads), by its
    /// name (arXiv 2106.08254; MAE's `get_layer_id_for_vit`).
    fn layer_id(&self, name: &str) -> usize;

    /// Names that take no weight decay although they have two or more dimensions.
    fn no_weight_decay(&self) -> &'static [&'static str];
}

/// The layer of a parameter of an encoder with `depth` blocks, by MAE's names.
pub(crate) fn layer_id(name: &str, depth: usize) -> usize {
    let block = name.strip_prefix("blocks.");
    match block.and_then(|rest| rest.split('.').next()?.parse::<usize>().ok()) {
        Some(block) if block < depth => block + 1,
        _ if ["cls_token", "pos_embed"].contains(&name) || name.starts_with("patch_embed") => 0,
        _ => depth + 1,
    }
}
