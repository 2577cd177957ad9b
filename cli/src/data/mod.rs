//! `longmae data`: what is in a dataset, and how fast it is read.

mod bench;
mod inspect;
mod statistics;

use clap::Subcommand;

use crate::image_size::ImageSize;
use crate::pretrain::{Flags, Settings};
use crate::run::RunSettings;
use crate::run::flags::DataFlags;

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Look at a dataset: how many images, sizes, channels, corrupt ones, mean and deviation, a sheet of samples.
    #[command(allow_negative_numbers = true)]
    Inspect(inspect::Args),
    /// Measure how many images a second the pre-training pipeline gives, and decoding alone.
    #[command(allow_negative_numbers = true)]
    Bench(bench::Args),
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    match &args.action {
        Action::Inspect(args) => inspect::run(args),
        Action::Bench(args) => bench::run(args),
    }
}

/// What both take: the data, and those of a run's settings that say what becomes of an image.
#[derive(clap::Args)]
struct Pipeline {
    /// The data, as `mae-pretrain --data` takes it
    #[arg(value_name = "SPEC")]
    data: String,
    /// Image size in pixels: 224, or 224x320 (height x width)
    #[arg(long, value_name = "SIZE")]
    image_size: Option<ImageSize>,
    /// Patch size in pixels
    #[arg(long, value_name = "PIXELS")]
    patch_size: Option<usize>,
    /// Side of a mask unit in patches
    #[arg(long, value_name = "PATCHES")]
    mask_unit: Option<usize>,
    /// Share of the patches that is hidden
    #[arg(long, value_name = "SHARE")]
    mask_ratio: Option<f64>,
    /// Channels of an image: 3 reads everything as RGB, 1 as grey, other numbers keep a file's own bands
    #[arg(long, value_name = "N")]
    channels: Option<usize>,
    /// `random` (resized crop), `byol`, or `none` (the whole image is resized)
    #[arg(long, value_name = "KIND")]
    crop: Option<String>,
    /// `full`, or `scaled`: JPEG at a smaller size where that is enough
    #[arg(long, value_name = "KIND")]
    decode: Option<String>,
    /// How often each image is taken in a row, decoded once
    #[arg(long, value_name = "N")]
    aug_repeats: Option<usize>,
    /// Threads that load and transform images
    #[arg(long, value_name = "N")]
    workers: Option<usize>,
    /// Seed of everything random
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
}

impl Pipeline {
    /// A run's settings with this pipeline, in batches of `batch_size`.
    fn settings(&self, batch_size: usize) -> anyhow::Result<Settings> {
        let data = DataFlags {
            data: Some(self.data.clone()),
            image_size: self.image_size,
            channels: self.channels,
            crop: self.crop.clone(),
            decode: self.decode.clone(),
            aug_repeats: self.aug_repeats,
            ..DataFlags::default()
        };
        let mut flags = Flags {
            data,
            mask_unit: self.mask_unit,
            mask_ratio: self.mask_ratio,
            ..Flags::default()
        };
        (flags.encoder.model, flags.encoder.patch_size) =
            (Some("vit-nano".to_owned()), self.patch_size);
        (flags.machine.workers, flags.run.seed) = (self.workers, self.seed);
        flags.optimisation.batch_size = Some(batch_size);
        Settings::resolve(flags)
    }
}
