#![deny(missing_docs)]
#![doc = include_str!("../README.md")]

mod card;
mod checkpoint;
mod error;
mod header;
mod hints;
mod info;
mod load;
mod metadata;
mod mismatch;
mod names;
mod save;
mod sniff;

pub use card::ModelCard;
pub use checkpoint::Checkpoint;
pub use error::{Error, Result};
pub use info::{ModelInfo, TowerInfo};
pub use load::LoadReport;
pub use metadata::{FORMAT, Kind, Metadata};
pub use mismatch::{Misfit, Mismatch};
pub use names::{infer_kind, is_decoder, is_encoder};
pub use save::save;
