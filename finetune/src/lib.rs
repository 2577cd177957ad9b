#![deny(missing_docs)]
#![doc = include_str!("../README.md")]

mod classifier;
pub mod detect;
mod error;
mod layer_decay;
pub mod metrics;
mod pca;
pub mod probes;
mod soft_cross_entropy;

pub use classifier::{Classifier, ClassifierConfig, Pool};
pub use error::{Error, Result};
pub use layer_decay::{TunedParam, layer_decay};
pub use pca::Pca;
pub use soft_cross_entropy::soft_cross_entropy;
