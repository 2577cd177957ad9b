/// What can go wrong while building or running a masked autoencoder.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A downsampling factor that does not fit the grid.
    #[error("{what} {factor} does not divide the {rows}x{cols} patch grid")]
    Downsampling {
        /// Which factor.
        what: &'static str,
        /// The factor.
        factor: usize,
        /// Grid rows.
        rows: usize,
        /// Grid columns.
        cols: usize,
    },
    /// A prediction coarser than the decoder's sequence, or not a whole factor of it.
    #[error(
        "prediction downsampling {prediction} must divide decoder downsampling {decoder}: the decoder's \
         tokens are at least as coarse as what it predicts"
    )]
    Quotient {
        /// Decoder downsampling.
        decoder: usize,
        /// Prediction downsampling.
        prediction: usize,
    },
    /// Masks of another grid or batch.
    #[error("masks for {found:?} (batch, patches), expected {expected:?}")]
    MaskShape {
        /// Shape found.
        found: Vec<usize>,
        /// Shape expected.
        expected: Vec<usize>,
    },
    /// The backbone could not be built or run.
    #[error(transparent)]
    Vit(#[from] longmae_vit::Error),
    /// Grid, patches or positions do not fit.
    #[error(transparent)]
    Patching(#[from] longmae_patching::Error),
    /// Parameters could not be made.
    #[error(transparent)]
    Ops(#[from] longmae_ops::Error),
    /// A tensor operation failed.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

/// The result of this crate's functions.
pub type Result<T> = std::result::Result<T, Error>;
