#![deny(missing_docs)]
#![doc = include_str!("../README.md")]

mod cost;
mod curve;
mod error;
mod file;
mod memory;
mod picture;
mod reconstruction;
mod text;
mod thin;

pub use cost::{Cost, ModelShape, Tower};
pub use curve::{Mark, Series, loss_svg};
pub use error::{Error, Result};
pub use file::{encode_png, write_atomic, write_png};
pub use memory::{ActivationModel, Memory};
pub use picture::{contact_sheet, reconstruction_grid};
pub use reconstruction::{ImageSpec, MaskedImage, Planes, Reconstruction, Statistics, denormalize};

/// A raster of 8-bit RGB pixels, re-exported from the `image` crate.
pub use image::RgbImage;
