#![deny(missing_docs)]
#![doc = include_str!("../README.md")]

mod adapt;
mod cut;
mod embed;
mod error;
mod grid;
mod patchify;
mod position;
mod pseudo_inverse;
mod resample;
mod targets;
mod tokenizer;

pub use adapt::{PatchResample, adapt_channels, resize_patch_embed};
pub use embed::PatchEmbed;
pub use error::{Error, Result};
pub use grid::PatchGrid;
pub use patchify::{patchify, unpatchify};
pub use position::{resize_positions, sincos_positions};
pub use resample::Resample;
pub use targets::PixelTargets;
pub use tokenizer::Tokenizer;
