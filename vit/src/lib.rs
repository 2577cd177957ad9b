#![deny(missing_docs)]
#![doc = include_str!("../README.md")]

mod attention;
mod backbone;
mod block;
mod config;
mod drop_path;
mod error;
mod mlp;
mod norm;
mod preset;
mod vit;
mod window;
mod windowed;

pub use attention::Attention;
pub use backbone::Backbone;
pub use block::Block;
pub use config::{TowerConfig, VitConfig};
pub use drop_path::DropPath;
pub use error::{Error, Result};
pub use mlp::Mlp;
pub use norm::Norm;
pub use preset::Preset;
pub use vit::{Vit, VitOptions};
pub use windowed::{WindowedVit, WindowedVitConfig};

/// What an encoder is built of and from, so that it can be without the crates below this one.
pub use longmae_ops::Params;
pub use longmae_patching::PatchGrid;
