use crate::Isa;

/// What can go wrong while building parameters or running an operation.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Two parameters were given the same name.
    #[error("parameter `{0}` is defined twice")]
    DuplicateParameter(String),
    /// A name that is none of the choices.
    #[error("unknown {what} `{found}`: expected one of {expected}")]
    UnknownChoice {
        /// What was to be chosen.
        what: &'static str,
        /// The name found.
        found: String,
        /// The names there are.
        expected: String,
    },
    /// A value of the instruction set's variable that is no instruction set.
    #[error("LONGMAE_ISA `{0}`: expected portable, avx2, avx512, avx512bf16 or amx")]
    UnknownIsa(String),
    /// An instruction set that this machine lacks.
    #[error("LONGMAE_ISA `{wanted}`: this machine has no more than {best}")]
    IsaMissing {
        /// The one asked for.
        wanted: Isa,
        /// The best there is.
        best: Isa,
    },
    /// A tensor operation failed: shapes, types or the device.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

/// The result of this crate's functions.
pub type Result<T> = std::result::Result<T, Error>;
