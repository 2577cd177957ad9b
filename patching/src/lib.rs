#![deny(missing_docs)]
#![doc = include_str!("../README.md")]

mod cut;
mod embed;
mod error;
mod grid;
mod patchify;
mod position;
mod targets;
mod tokenizer;

pub use embed::PatchEmbed;
pub use error::{Error, Result};
pub use grid::PatchGrid;
pub use patchify::{patchify, unpatchify};
pub use position::{resize_positions, sincos_positions};
pub use targets::PixelTargets;
pub use tokenizer::Tokenizer;
