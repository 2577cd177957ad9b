use candle_core::Tensor;
use longmae_patching::PatchGrid;

use crate::Result;

/// What transfer needs to know of an encoder, whatever its inside.
pub trait Backbone {
    /// Features of whole images `[batch, channels, height, width]`: `[batch, 1 + patches, dim]`, class token
    /// first.
    ///
    /// # Errors
    /// When the images do not fit the grid.
    fn features(&self, images: &Tensor) -> Result<Tensor>;

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
