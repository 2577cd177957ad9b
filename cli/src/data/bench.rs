//! `longmae data bench`: one line of JSON.

use std::time::Instant;

use longmae_data::{LoaderState, SCALED_DECODING, Source};
use serde_json::json;

use super::Pipeline;
use crate::exit::usage;
use crate::output::line;
use crate::pretrain::{Settings, train_loader};
use crate::run::Sources;

/// Images that are decoded at most, twice.
const MOST_DECODED: usize = 2000;

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    pipeline: Pipeline,
    /// Images of a batch
    #[arg(long, value_name = "N", default_value_t = 32)]
    batch_size: usize,
    /// Passes over the data; the first one is not counted
    #[arg(long, value_name = "N", default_value_t = 4)]
    epochs: u64,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    if args.epochs < 2 {
        let found = args.epochs;
        return Err(usage(format!(
            "epochs {found}: expected at least 2, the first is not counted"
        )));
    }
    let settings = args.pipeline.settings(args.batch_size)?;
    let sources = Sources::open(&settings.common)?;
    let pipeline = pipeline(&sources, &settings, args.epochs)?;
    let decoding = decoding(sources.train.as_ref());
    let size = settings.common.size;
    line(json!({
        "data": args.pipeline.data,
        "images": sources.train.len(),
        "image_size": format!("{}x{}", size.height, size.width),
        "workers": settings.common.workers,
        "epochs": args.epochs,
        "batch_size": args.batch_size,
        "jpeg": if SCALED_DECODING { "libjpeg-turbo" } else { "zune-jpeg" },
        "decode": settings.flags.data.decode,
        "images_per_second": rounded(pipeline),
        "decode_images_per_second": rounded(decoding),
    }));
    Ok(())
}

/// Images a second that come out of the loader, first epoch left out.
fn pipeline(sources: &Sources, settings: &Settings, epochs: u64) -> anyhow::Result<f64> {
    sources.steps_per_epoch(&settings.common)?;
    let start = LoaderState::seeded(settings.common.seed);
    let mut loader = train_loader(&sources.train, settings, start)?;
    let batches = loader.batches_per_epoch();
    let mut take = |epochs: u64| -> anyhow::Result<usize> {
        let mut images = 0;
        for _ in 0..epochs * batches {
            images += loader.next_batch().transpose()?.map_or(0, |batch| batch.ids.len());
        }
        Ok(images)
    };
    take(1)?;
    let begin = Instant::now();
    let images = take(epochs - 1)?;
    Ok(images as f64 / begin.elapsed().as_secs_f64())
}

/// Images a second that one thread reads and decodes; corrupt ones are passed over.
fn decoding(source: &dyn Source) -> f64 {
    let count = source.len().min(MOST_DECODED);
    let pass = || (0..count).filter(|&index| decoded(source, index * source.len() / count)).count();
    pass();
    let begin = Instant::now();
    let images = pass();
    images as f64 / begin.elapsed().as_secs_f64()
}

fn decoded(source: &dyn Source, index: usize) -> bool {
    source.get(index).is_ok_and(|sample| sample.picture.image().is_ok())
}

fn rounded(rate: f64) -> f64 {
    (rate * 10.0).round() / 10.0
}
