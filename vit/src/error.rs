/// What can go wrong while building or running a Vision Transformer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Heads that do not divide the width.
    #[error("{heads} attention heads do not divide the width {dim}")]
    Heads {
        /// Number of heads.
        heads: usize,
        /// Width.
        dim: usize,
    },
    /// A size that must not be zero.
    #[error("{0} must not be zero")]
    Zero(&'static str),
    /// More blocks that attend to the whole grid than there are.
    #[error("{blocks} global blocks of {depth} blocks")]
    GlobalBlocks {
        /// Global blocks.
        blocks: usize,
        /// All blocks.
        depth: usize,
    },
    /// An unknown model name.
    #[error("unknown model `{found}`: expected one of {expected}")]
    UnknownPreset {
        /// The name found.
        found: String,
        /// The names there are.
        expected: String,
    },
    /// A drop-path rate outside [0, 1).
    #[error("drop path rate {0}: expected a number from 0 to below 1")]
    DropPathRate(f64),
    /// Drop path drawn for another depth.
    #[error("drop path was drawn for {drawn} residual branches, the model has at least {needed}")]
    DropPathDepth {
        /// Branches drawn.
        drawn: usize,
        /// Branches needed.
        needed: usize,
    },
    /// Drop path drawn for several depths in one batch.
    #[error(
        "drop path was drawn for {found} residual branches of one sample, for {expected} of another"
    )]
    DropPathDraws {
        /// Branches of the sample.
        found: usize,
        /// Branches of the first sample.
        expected: usize,
    },
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
