#![deny(missing_docs)]
#![doc = include_str!("../README.md")]

#[cfg(feature = "codecs")]
mod ade20k;
mod coco;
#[cfg(feature = "codecs")]
mod decode;
#[cfg(feature = "codecs")]
mod demo;
mod error;
#[cfg(feature = "codecs")]
mod folder;
#[cfg(feature = "hub")]
pub mod hub_dataset;
#[cfg(feature = "codecs")]
mod image;
mod instances;
#[cfg(feature = "codecs")]
mod join;
#[cfg(feature = "codecs")]
mod label_map;
#[cfg(feature = "codecs")]
mod loader;
#[cfg(feature = "codecs")]
mod packed;
#[cfg(feature = "codecs")]
mod path_list;
#[cfg(feature = "codecs")]
mod picture;
pub mod rle;
pub mod rng;
#[cfg(feature = "shards")]
mod shards;
mod size;
#[cfg(feature = "codecs")]
mod source;
#[cfg(feature = "codecs")]
mod spec;
#[cfg(feature = "codecs")]
mod subset;
#[cfg(feature = "codecs")]
mod synthetic;
#[cfg(feature = "codecs")]
pub mod transform;

#[cfg(feature = "codecs")]
pub use ade20k::Ade20k;
#[cfg(feature = "codecs")]
pub use coco::Coco;
pub use coco::{CocoAnnotations, CocoCategory, CocoImage, CocoSegmentation};
#[cfg(feature = "codecs")]
pub use decode::{DecodeOptions, Probe, SCALED_DECODING, decode, decode_labels, probe};
#[cfg(feature = "codecs")]
pub use demo::Demo;
pub use error::{Error, Result};
#[cfg(feature = "codecs")]
pub use folder::{EXTENSIONS, ImageFolder};
#[cfg(feature = "codecs")]
pub use image::{Image, Pixels, Planar};
pub use instances::{Instance, Instances, Segmentation};
#[cfg(feature = "codecs")]
pub use join::Join;
#[cfg(feature = "codecs")]
pub use label_map::LabelMap;
#[cfg(feature = "codecs")]
pub use loader::{CorruptSample, Item, Loader, LoaderConfig, LoaderState, MaxCorrupt, Samples};
#[cfg(feature = "codecs")]
pub use packed::{Packed, PackedKind, PackedPart};
#[cfg(feature = "codecs")]
pub use path_list::PathList;
#[cfg(feature = "codecs")]
pub use picture::{Picture, Region};
#[cfg(feature = "shards")]
pub use shards::{ParquetFiles, WebDataset};
pub use size::{MAX_PIXELS, Size};
#[cfg(feature = "codecs")]
pub use source::{Part, Sample, Source, Target};
#[cfg(feature = "hub")]
pub use spec::OnProgress;
#[cfg(feature = "codecs")]
pub use spec::{OpenOptions, Spec};
#[cfg(feature = "codecs")]
pub use subset::{Subset, split};
#[cfg(feature = "codecs")]
pub use synthetic::Synthetic;
#[cfg(feature = "codecs")]
pub use transform::augment::{Augment, AutoAugment, ColorJitter, RandAugment};
#[cfg(feature = "codecs")]
pub use transform::mixup::{BatchShape, MixMode, Mixup, MixupConfig, Targets};
#[cfg(feature = "codecs")]
pub use transform::{
    ByolCrop, ClassifyTransform, Erase, EvalTransform, IMAGENET_MEAN, IMAGENET_STD, Normalize,
    RandomErasing, TrainTransform, Transform,
};
