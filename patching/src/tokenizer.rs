use candle_core::Tensor;

use crate::Result;

/// Turns images into one vector a patch, at all positions or at chosen ones.
pub trait Tokenizer {
    /// Tokens of `images` `[batch, channels, height, width]`.
    ///
    /// `positions` `[batch, picked]` (u32) chooses patches for every sample; without it every patch, row by
    /// row, becomes a token. The result is `[batch, picked, width]`.
    ///
    /// # Errors
    /// When the images or positions do not fit the grid.
    fn tokens(&self, images: &Tensor, positions: Option<&Tensor>) -> Result<Tensor>;

    /// Length of a token.
    fn width(&self) -> usize;
}
