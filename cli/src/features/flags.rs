//! The flags of every command that encodes images.

use std::str::FromStr;
use std::thread::available_parallelism;

use longmae_data::MaxCorrupt;
use longmae_ops::{Compute, Isa, Precision};
use longmae_weights::Known;

use crate::choice::one_of;
use crate::device::DeviceName;
use crate::exit::usage;
use crate::image_size::ImageSize;

/// The largest batch and number of workers, far beyond use.
const MOST: usize = 1 << 16;
/// The largest side of an image.
const MOST_PIXELS: usize = 1 << 15;

/// How an encoder is opened, and what it gets to see.
#[derive(Debug, Clone, clap::Args)]
pub struct EncoderFlags {
    /// Image size in pixels, 224 or 224x320 (height x width); positions are resized to another one than the model's
    #[arg(long, value_name = "SIZE")]
    pub image_size: Option<ImageSize>,
    /// `center` (the middle of the image), or `none` (the whole image is resized, whatever its shape)
    #[arg(long, value_name = "KIND", default_value = "center")]
    pub crop: String,
    /// `fp32`, or `bf16` for matrix products
    #[arg(long, value_name = "NAME", default_value = "fp32")]
    pub precision: String,
    /// Device: cpu, cuda or cuda:N (with the feature `cuda`), metal or metal:N (with the feature `metal`)
    #[arg(long, value_name = "NAME", default_value = "cpu")]
    pub device: String,
    #[command(flatten)]
    pub known: UnsaidFlags,
}

/// What the user says of an encoder whose file does not.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "What a file from elsewhere may not say")]
pub struct UnsaidFlags {
    /// Attention heads
    #[arg(long, value_name = "N")]
    pub heads: Option<usize>,
    /// Mean of each channel in 0..1, such as 0.485,0.456,0.406
    #[arg(long, value_name = "M,...", value_delimiter = ',')]
    pub mean: Option<Vec<f64>>,
    /// Standard deviation of each channel
    #[arg(long, value_name = "S,...", value_delimiter = ',')]
    pub std: Option<Vec<f64>>,
    /// Epsilon of the layer norms
    #[arg(long, value_name = "EPS")]
    pub layer_norm_eps: Option<f64>,
}

impl EncoderFlags {
    /// What the flags alone show.
    pub fn check(&self) -> anyhow::Result<()> {
        Isa::requested().map_err(usage)?;
        one_of("crop", &self.crop, &["center", "none"], &[])?;
        if self.image_size.is_some_and(|size| size.height.max(size.width) > MOST_PIXELS) {
            return Err(usage(format!("--image-size: expected at most {MOST_PIXELS} a side")));
        }
        if let Some(eps) = self.known.layer_norm_eps.filter(|eps| !(*eps > 0.0 && *eps < 1.0)) {
            return Err(usage(format!("--layer-norm-eps {eps}: expected a small number above 0")));
        }
        let device = self.device()?;
        device.check_built()?;
        device.check_compute(self.compute()?)
    }

    /// Where the encoder computes.
    pub fn device(&self) -> anyhow::Result<DeviceName> {
        self.device.parse()
    }

    /// How the encoder computes.
    pub fn compute(&self) -> anyhow::Result<Compute> {
        let precision = Precision::from_str(&self.precision).map_err(usage)?;
        Ok(Compute { precision, ..Compute::default() })
    }

    /// What was typed of the model, as the library wants it.
    pub fn known(&self) -> Known {
        Known {
            image_size: self.image_size.map(|size| [size.height, size.width]),
            heads: self.known.heads,
            mean: self.known.mean.clone(),
            std: self.known.std.clone(),
            layer_norm_eps: self.known.layer_norm_eps,
            ..Known::default()
        }
    }
}

/// How many images are read and encoded.
#[derive(Debug, Clone, clap::Args)]
pub struct EncodeFlags {
    /// Images that are encoded at once
    #[arg(long, alias = "batch_size", value_name = "N", default_value_t = 64)]
    pub batch_size: usize,
    /// Threads that read images (default: one a core, at most 8)
    #[arg(long, alias = "num_workers", value_name = "N")]
    pub workers: Option<usize>,
    /// Corrupt images that are left out before the command gives up: a number, or a share such as 1% (default: 1%, but 10 at
    /// the least)
    #[arg(long, alias = "max_corrupt", value_name = "LIMIT")]
    pub max_corrupt: Option<String>,
    #[command(flatten)]
    pub encoder: EncoderFlags,
}

impl EncodeFlags {
    /// What the flags alone show.
    pub fn check(&self) -> anyhow::Result<()> {
        for (flag, value) in [("batch-size", self.batch_size), ("workers", self.workers())] {
            if !(1..=MOST).contains(&value) {
                return Err(usage(format!("--{flag} {value}: expected a number from 1 to {MOST}")));
            }
        }
        self.max_corrupt().and_then(|_| self.encoder.check())
    }

    /// How many corrupt images are put up with.
    pub fn max_corrupt(&self) -> anyhow::Result<MaxCorrupt> {
        let limit = self.max_corrupt.as_deref().map(MaxCorrupt::from_str).transpose();
        Ok(limit.map_err(usage)?.unwrap_or_default())
    }

    /// Threads that read images.
    pub fn workers(&self) -> usize {
        let cores = || available_parallelism().map_or(1, usize::from);
        self.workers.unwrap_or_else(|| cores().min(8))
    }
}
