#![deny(missing_docs)]
#![doc = include_str!("../README.md")]

mod ade20k;
mod coco;
mod decode;
mod demo;
mod error;
mod folder;
mod image;
mod instances;
mod join;
mod label_map;
mod loader;
mod picture;
pub mod rle;
pub mod rng;
mod source;
mod spec;
mod subset;
mod synthetic;
pub mod transform;

pub use ade20k::Ade20k;
pub use coco::Coco;
pub use decode::{DecodeOptions, MAX_PIXELS, decode, decode_labels};
pub use demo::Demo;
pub use error::{Error, Result};
pub use folder::{EXTENSIONS, ImageFolder};
pub use image::{Image, Pixels, Planar};
pub use instances::{Instance, Instances, Segmentation};
pub use join::Join;
pub use label_map::LabelMap;
pub use loader::{CorruptSample, Item, Loader, LoaderConfig, LoaderState, MaxCorrupt};
pub use picture::{Picture, Region};
pub use source::{Part, Sample, Source, Target};
pub use spec::{OpenOptions, Spec};
pub use subset::{Subset, split};
pub use synthetic::Synthetic;
pub use transform::{
    EvalTransform, IMAGENET_MEAN, IMAGENET_STD, Normalize, Size, TrainTransform, Transform,
};
