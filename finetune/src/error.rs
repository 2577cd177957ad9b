/// What can go wrong in transfer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A tensor operation.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
    /// A kernel.
    #[error(transparent)]
    Ops(#[from] longmae_ops::Error),
    /// The backbone.
    #[error(transparent)]
    Vit(#[from] longmae_vit::Error),
    /// A setting that makes no sense.
    #[error("{name} is {found}: expected {expected}")]
    Setting {
        /// Which one.
        name: &'static str,
        /// What it is.
        found: String,
        /// What it may be.
        expected: String,
    },
}

impl Error {
    /// A label that is no class.
    pub(crate) fn label(label: u32, classes: usize) -> Self {
        let found = format!("class {label}");
        Self::Setting { name: "label", found, expected: format!("below {classes}, the classes") }
    }
}

/// A result with this crate's error.
pub type Result<T> = std::result::Result<T, Error>;
