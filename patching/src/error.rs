/// What can go wrong while cutting images into tokens.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An image or patch size of zero.
    #[error("image {height}x{width} with patch size {patch} has no patches")]
    Empty {
        /// Image height in pixels.
        height: usize,
        /// Image width in pixels.
        width: usize,
        /// Patch side in pixels.
        patch: usize,
    },
    /// The patch size leaves a remainder.
    #[error(
        "patch size {patch} does not divide the image, {height}x{width} (height x width); \
         sizes that do: {fitting}"
    )]
    Indivisible {
        /// Image height in pixels.
        height: usize,
        /// Image width in pixels.
        width: usize,
        /// Patch side in pixels.
        patch: usize,
        /// Patch sizes that would fit, for the message.
        fitting: String,
    },
    /// Images of another size than the grid's.
    #[error("images of shape {found:?} (batch, channels, height, width), expected {expected}")]
    ImageShape {
        /// Shape found.
        found: Vec<usize>,
        /// What was expected.
        expected: String,
    },
    /// A width that the 2-D sin-cos embedding cannot fill.
    #[error("2-D sin-cos positions need a width divisible by 4, found {0}")]
    PositionWidth(usize),
    /// Position embeddings that do not belong to the grid they are said to come from.
    #[error(
        "position embedding of shape {found:?}, expected [1, {expected}, dim] for a {rows}x{cols} grid and a class token"
    )]
    PositionShape {
        /// Shape found.
        found: Vec<usize>,
        /// Rows expected: the class token and every patch.
        expected: usize,
        /// Grid rows.
        rows: usize,
        /// Grid columns.
        cols: usize,
    },
    /// A weight that is no patch embedding's.
    #[error("patch embedding of shape {found:?}, expected [dim, channels, p, p]")]
    PatchWeight {
        /// Shape found.
        found: Vec<usize>,
    },
    /// A patch embedding for patches without pixels.
    #[error("a patch embedding cannot be resized to patches of 0 pixels")]
    NoPatch,
    /// A resizing that cannot be inverted.
    #[error("resizing patches from {from} to {to} pixels has no pseudo-inverse of full rank")]
    PatchRank {
        /// Side of a patch before.
        from: usize,
        /// Side of a patch after.
        to: usize,
    },
    /// Channels that have no counterpart.
    #[error(
        "a patch embedding of {from} channels has no meaning for {to}: channels are summed to 1, or repeated to a \
         multiple (3 to any number)"
    )]
    Channels {
        /// Channels before.
        from: usize,
        /// Channels after.
        to: usize,
    },
    /// Ids for another batch.
    #[error("ids of shape {found:?}, expected a row for each of {batch} images")]
    Ids {
        /// Shape found.
        found: Vec<usize>,
        /// Images.
        batch: usize,
    },
    /// An id outside the grid.
    #[error("patch {id} is out of range: the grid has {patches}")]
    Position {
        /// The id.
        id: u32,
        /// Patches of the grid.
        patches: usize,
    },
    /// Parameters could not be made.
    #[error(transparent)]
    Ops(#[from] longmae_ops::Error),
    /// A tensor operation failed.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

/// The result of this crate's functions.
pub type Result<T> = std::result::Result<T, Error>;
