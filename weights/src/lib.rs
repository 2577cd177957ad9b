#![deny(missing_docs)]
#![doc = include_str!("../README.md")]

mod adapt;
mod adaptation;
mod card;
mod checkpoint;
mod error;
mod fill;
mod header;
mod hints;
mod info;
mod layout;
mod load;
mod metadata;
mod mismatch;
mod names;
mod pth;
mod save;
mod sniff;
mod stored;

pub use adapt::Adapt;
pub use adaptation::{Adaptation, Change, What};
pub use card::ModelCard;
pub use checkpoint::Checkpoint;
pub use error::{Error, Result};
pub use info::{CategoryInfo, ClassifierInfo, DetectorInfo, ModelInfo, TowerInfo};
pub use layout::{Export, Known, Layout, export, is_classifier};
pub use load::{LoadOptions, LoadReport};
pub use longmae_patching::{PatchResample, Resample};
pub use metadata::{FORMAT, Kind, Metadata};
pub use mismatch::{Misfit, Mismatch};
pub use names::{infer_kind, is_decoder, is_encoder};
pub use save::save;
pub use stored::{Format, StoredFile, StoredTensor};
