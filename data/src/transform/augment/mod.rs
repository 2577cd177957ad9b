//! Augmentations of 8-bit images, equal to those of Pillow, torchvision and timm.
//!
//! The functions are the operations, without anything random. [`ColorJitter`], [`RandAugment`] and [`AutoAugment`] draw
//! which of them are applied and how strongly. All take 8-bit samples of 3 channels, or of 1, as Pillow's modes `RGB`
//! and `L`.

mod affine;
mod any;
mod auto_augment;
mod color_jitter;
mod enhance;
mod histogram;
mod hue;
mod level;
mod operation;
mod pointwise;
mod policy;
mod rand_augment;
mod samples;

pub use affine::{Interpolation, Matrix, affine, rotate};
pub use any::Augment;
pub use auto_augment::AutoAugment;
pub use color_jitter::{Adjustment, ColorJitter};
pub use enhance::{brightness, contrast, saturation, sharpness};
pub use histogram::{auto_contrast, equalize};
pub use hue::hue;
pub use level::Scale;
pub use operation::Operation;
pub use pointwise::{invert, posterize, solarize, solarize_add};
pub use policy::Drawn;
pub use rand_augment::RandAugment;
