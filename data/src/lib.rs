#![deny(missing_docs)]
#![doc = include_str!("../README.md")]

mod decode;
mod demo;
mod error;
mod folder;
mod image;
mod join;
mod loader;
mod packed;
mod path_list;
mod picture;
pub mod rng;
mod source;
mod spec;
mod subset;
mod synthetic;
pub mod transform;

pub use decode::{DecodeOptions, MAX_PIXELS, decode};
pub use demo::Demo;
pub use error::{Error, Result};
pub use folder::{EXTENSIONS, ImageFolder};
pub use image::{Image, Pixels, Planar};
pub use join::Join;
pub use loader::{CorruptSample, Item, Loader, LoaderConfig, LoaderState, MaxCorrupt};
pub use packed::{Packed, PackedKind, PackedPart};
pub use path_list::PathList;
pub use picture::{Picture, Region};
pub use source::{Part, Sample, Source, Target};
pub use spec::{OpenOptions, Spec};
pub use subset::{Subset, split};
pub use synthetic::Synthetic;
pub use transform::{
    EvalTransform, IMAGENET_MEAN, IMAGENET_STD, Normalize, Size, TrainTransform, Transform,
};
