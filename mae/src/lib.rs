#![deny(missing_docs)]
#![doc = include_str!("../README.md")]

mod config;
mod decoder;
mod error;
mod loss;
mod mae;
mod resample;

pub use config::{DecoderConfig, MaeConfig, decoder_preset};
pub use decoder::Decoder;
pub use error::{Error, Result};
pub use loss::masked_pixel_loss;
pub use mae::{Mae, MaeOutput};
pub use resample::{Downsample, Upsample};
