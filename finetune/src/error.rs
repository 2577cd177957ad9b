use std::path::{Path, PathBuf};

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
    /// Annotations.
    #[error(transparent)]
    Data(Box<longmae_data::Error>),
    /// Annotations that detections cannot be compared with.
    #[error("{reason}")]
    Truth {
        /// What was found in them.
        reason: String,
    },
    /// A detection that cannot be.
    #[error("result {number}: {reason}")]
    Detection {
        /// Which one, counted from 1.
        number: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// A file of results that does not say what it should.
    #[error("{}: {reason}", path.display())]
    Results {
        /// The file.
        path: PathBuf,
        /// What was found in it.
        reason: String,
    },
    /// Results could not be written.
    #[error("results cannot be written: {0}")]
    Write(#[from] std::io::Error),
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

impl From<longmae_data::Error> for Error {
    fn from(error: longmae_data::Error) -> Self {
        Self::Data(Box::new(error))
    }
}

impl Error {
    /// Names the file that an error about annotations is of.
    pub(crate) fn of_file(self, path: &Path) -> Self {
        match self {
            Self::Truth { reason } => {
                longmae_data::Error::Annotations { path: path.into(), reason }.into()
            }
            other => other,
        }
    }

    /// A label that is no class.
    pub(crate) fn label(label: u32, classes: usize) -> Self {
        let found = format!("class {label}");
        Self::Setting { name: "label", found, expected: format!("below {classes}, the classes") }
    }
}

/// A result with this crate's error.
pub type Result<T, E = Error> = std::result::Result<T, E>;
