#![deny(missing_docs)]
#![doc = include_str!("../README.md")]

mod axis;
mod cost;
mod curve;
mod error;
mod file;
mod flag;
mod history;
mod memory;
mod objects;
mod page;
mod palette;
mod patch_maps;
mod picture;
mod reconstruction;
mod speed;
mod text;
mod thin;

pub use axis::Scale;
pub use cost::{Cost, ModelShape, Tower};
pub use curve::{Chart, Mark, Series, loss_svg};
pub use error::{Error, Result};
pub use file::{encode_png, write_atomic, write_png};
pub use flag::Flag;
pub use history::{Evaluation, Event, EventKind, History, Step};
pub use memory::{ActivationModel, Memory};
pub use objects::{DrawnObject, draw_objects};
pub use page::{MOST_PICTURES, Picture, Run, evenly_spaced, page};
pub use patch_maps::{MappedImage, PatchMap, patch_maps};
pub use picture::{contact_sheet, reconstruction_grid};
pub use reconstruction::{ImageSpec, MaskedImage, Planes, Reconstruction, Statistics, denormalize};
pub use speed::{MeasuredStep, Speed};

/// A raster of 8-bit RGB pixels, re-exported from the `image` crate.
pub use image::RgbImage;
