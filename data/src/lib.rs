#![deny(missing_docs)]
#![doc = include_str!("../README.md")]

mod ade20k;
mod coco;
mod decode;
mod demo;
mod error;
mod folder;
#[cfg(feature = "hub")]
pub mod hub_dataset;
mod image;
mod instances;
mod join;
mod label_map;
mod loader;
mod packed;
mod path_list;
mod picture;
pub mod rle;
pub mod rng;
#[cfg(feature = "shards")]
mod shards;
mod source;
mod spec;
mod subset;
mod synthetic;
pub mod transform;

pub use ade20k::Ade20k;
pub use coco::Coco;
pub use decode::{DecodeOptions, MAX_PIXELS, Probe, SCALED_DECODING, decode, decode_labels, probe};
pub use demo::Demo;
pub use error::{Error, Result};
pub use folder::{EXTENSIONS, ImageFolder};
pub use image::{Image, Pixels, Planar};
pub use instances::{Instance, Instances, Segmentation};
pub use join::Join;
pub use label_map::LabelMap;
pub use loader::{CorruptSample, Item, Loader, LoaderConfig, LoaderState, MaxCorrupt, Samples};
pub use packed::{Packed, PackedKind, PackedPart};
pub use path_list::PathList;
pub use picture::{Picture, Region};
#[cfg(feature = "shards")]
pub use shards::{ParquetFiles, WebDataset};
pub use source::{Part, Sample, Source, Target};
#[cfg(feature = "hub")]
pub use spec::OnProgress;
pub use spec::{OpenOptions, Spec};
pub use subset::{Subset, split};
pub use synthetic::Synthetic;
pub use transform::augment::{Augment, AutoAugment, ColorJitter, RandAugment};
pub use transform::mixup::{BatchShape, MixMode, Mixup, MixupConfig, Targets};
pub use transform::{
    ByolCrop, ClassifyTransform, Erase, EvalTransform, IMAGENET_MEAN, IMAGENET_STD, Normalize,
    RandomErasing, Size, TrainTransform, Transform,
};
