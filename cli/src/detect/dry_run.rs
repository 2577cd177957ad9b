//! `--dry-run`: the plan of a run, trained on nothing.

use std::path::Path;

use candle_core::Device;
use longmae_finetune::detect::Detector;
use longmae_ops::Params;
use longmae_train::Decay;

use super::cost::Cost;
use super::images::Images;
use super::plan::{Detecting, plural_categories};
use super::settings::Settings;
use crate::output::line;
use crate::run::dry_run::{self, Lines, schedule_of};
use crate::run::weights::open_weights;
use crate::terminal::plural;

/// COCO's, where no data says how many there are.
const CATEGORIES: usize = 80;

/// Prints the plan.
pub fn print(name: &str, settings: &Settings) -> anyhow::Result<()> {
    let common = &settings.common;
    let images = common.data.as_ref().map(|_| Images::open(settings)).transpose()?;
    let categories = images.as_ref().map_or(CATEGORIES, |images| images.categories.len());
    let mut lines = vec![
        ("model", format!("{}, {}", settings.architecture.name(), common.model)),
        ("categories", plural_categories(categories)),
    ];
    lines.extend(dry_run::image(common));
    lines.extend(size(settings, categories)?);
    lines.extend(optimisation(settings));
    if let Some(weights) = &common.init_weights {
        let checkpoint = open_weights(Path::new(weights))?;
        let kind = checkpoint.kind().map_or_else(|| "unknown".to_owned(), |kind| kind.to_string());
        lines.push(("start from", format!("{} ({kind})", checkpoint.path().display())));
    }
    match &images {
        Some(images) => lines.extend(schedule_of::<Detecting>(settings, &images.sources())?),
        None => lines.extend(dry_run::schedule::<Detecting>(settings)?),
    }
    dry_run::print(name, lines);
    line("  (the memory of activations is not estimated: --grad-checkpoint needs less)");
    Ok(())
}

/// Parameters and compute.
fn size(settings: &Settings, categories: usize) -> anyhow::Result<Lines> {
    let config = settings.architecture.config(categories);
    let params = Params::new(settings.common.seed, &Device::Cpu);
    let cost = Cost::of(&config);
    Detector::new(config, &params)?;
    let count: usize = params.all().iter().map(|param| param.var.elem_count()).sum();
    let (millions, forward) = (count as f64 / 1e6, cost.forward() / 1e9);
    Ok(vec![
        ("parameters", format!("{millions:.2} M")),
        (
            "compute",
            format!(
                "{forward:.2} GFLOP an image forward ({:.2} backbone, {:.2} maps and proposals, {:.2} heads), {:.2} a \
                 training step",
                cost.backbone / 1e9,
                cost.maps / 1e9,
                cost.heads / 1e9,
                3.0 * forward
            ),
        ),
        ("memory", format!("{:.2} GB of weights, gradients and moments", 16e-3 * millions)),
    ])
}

/// Batch and learning rate.
fn optimisation(settings: &Settings) -> Lines {
    let common = &settings.common;
    let mut lines = dry_run::optimisation(common);
    if let (Decay::Steps { at: [first, second] }, Some((_, rate))) =
        (settings.decay, lines.last_mut())
    {
        *rate = format!(
            "{:e}, a tenth of it from {:.1}% of the steps on, a hundredth from {:.1}%",
            common.lr,
            100.0 * first,
            100.0 * second
        );
    }
    let scale = settings.layer_decay.powi(common.encoder.tower.depth as i32 + 1);
    lines.push((
        "layer decay",
        format!("{}: the first layer at {scale:.2e} of the rate", settings.layer_decay),
    ));
    let jitter = (settings.flags.min_scale, settings.flags.max_scale);
    if let (Some(low), Some(high)) = jitter {
        lines.push(("jitter", format!("{low} to {high} of the image, cropped")));
    }
    lines.push(("workers", plural(common.workers as u64, "thread")));
    lines
}
