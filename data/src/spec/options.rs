//! What opening a source takes beside its name.

#[cfg(feature = "hub")]
use std::sync::Arc;

#[cfg(feature = "hub")]
use longmae_hub::{Hub, Progress};

use crate::decode::DecodeOptions;
use crate::transform::Size;

/// Is told how a download gets on.
#[cfg(feature = "hub")]
pub type OnProgress = Arc<dyn Fn(Progress<'_>) + Send + Sync>;

/// What is needed beside a [`Spec`](super::Spec) to open it.
#[derive(Clone)]
pub struct OpenOptions {
    /// How images are decoded.
    pub decode: DecodeOptions,
    /// The size of synthetic images.
    pub synthetic_size: Size,
    /// The number of synthetic images.
    pub synthetic_len: usize,
    /// The seed of synthetic images.
    pub seed: u64,
    /// The client of the Hub, or `None` for the one that the environment describes.
    #[cfg(feature = "hub")]
    pub hub: Option<Arc<Hub>>,
    /// What is told how downloads get on.
    #[cfg(feature = "hub")]
    pub progress: Option<OnProgress>,
}

impl Default for OpenOptions {
    /// Three channels; a thousand synthetic images of 224 x 224.
    fn default() -> Self {
        Self {
            decode: DecodeOptions::default(),
            synthetic_size: Size { height: 224, width: 224 },
            synthetic_len: 1000,
            seed: 0,
            #[cfg(feature = "hub")]
            hub: None,
            #[cfg(feature = "hub")]
            progress: None,
        }
    }
}
