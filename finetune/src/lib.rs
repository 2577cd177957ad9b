#![deny(missing_docs)]
#![doc = include_str!("../README.md")]

mod error;
pub mod metrics;
mod pca;
pub mod probes;

pub use error::{Error, Result};
pub use pca::Pca;
