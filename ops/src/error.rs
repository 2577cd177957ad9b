/// What can go wrong while building parameters or running an operation.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Two parameters were given the same name.
    #[error("parameter `{0}` is defined twice")]
    DuplicateParameter(String),
    /// A tensor operation failed: shapes, types or the device.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

/// The result of this crate's functions.
pub type Result<T> = std::result::Result<T, Error>;
