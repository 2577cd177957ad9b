//! `--dry-run`: the plan of a run, trained on nothing.

use std::path::Path;

use longmae_report::{Cost, Memory, ModelShape};

use super::plan::Pretraining;
use super::settings::Settings;
use crate::run::dry_run::{self, Lines, tower};
use crate::run::weights::open_weights;

/// Expected memory of the run at its peak, in bytes.
pub fn memory(settings: &Settings) -> anyhow::Result<f64> {
    Ok(memory_estimate(settings)?.total_bytes)
}

/// The same with its parts.
pub fn memory_estimate(settings: &Settings) -> anyhow::Result<Memory> {
    let common = &settings.common;
    let model = dry_run::activations(common.compute);
    Ok(shape(settings).memory_estimate(common.batching.batch_size, &model)?)
}

/// Prints the plan.
pub fn print(name: &str, settings: &Settings) -> anyhow::Result<()> {
    let cost = shape(settings).cost()?;
    let memory = memory_estimate(settings)?;
    let mut lines = sequence(settings, &cost);
    lines.extend(dry_run::expense(&settings.common, &cost, &memory));
    if let Some(weights) = &settings.common.init_weights {
        let checkpoint = open_weights(Path::new(weights))?;
        let kind = checkpoint.kind().map_or_else(|| "unknown".to_owned(), |kind| kind.to_string());
        lines.push(("start from", format!("{} ({kind})", checkpoint.path().display())));
    }
    lines.extend(dry_run::schedule::<Pretraining>(settings)?);
    dry_run::print(name, lines);
    Ok(())
}

/// The sizes that the cost depends on.
pub fn shape(settings: &Settings) -> ModelShape {
    let mae = settings.mae;
    ModelShape {
        grid: (mae.encoder.grid.rows(), mae.encoder.grid.cols()),
        patch_size: mae.encoder.grid.patch(),
        channels: mae.encoder.channels,
        kept: settings.kept,
        encoder: tower(&mae.encoder.tower),
        decoder: tower(&mae.decoder.tower),
        decoder_downsampling: mae.decoder.downsampling,
        pred_downsampling: mae.decoder.pred_downsampling,
        key_bias: mae.encoder.tower.key_bias,
    }
}

fn sequence(settings: &Settings, cost: &Cost) -> Lines {
    let grid = settings.mae.encoder.grid;
    let unit = settings.masks.unit;
    let decoder = settings.mae.decoder.tower;
    let mut lines = vec![
        ("model", settings.common.model.clone()),
        (
            "decoder",
            format!("{} wide, {} deep, {} heads", decoder.dim, decoder.depth, decoder.heads),
        ),
    ];
    lines.extend(dry_run::image(&settings.common));
    lines.extend([
        (
            "mask",
            format!(
                "{} units of {unit}x{unit} patches, {}, {:.2}% hidden",
                settings.units,
                settings.mask_strategy,
                100.0 * (1.0 - settings.kept as f64 / grid.len() as f64)
            ),
        ),
        (
            "Le",
            format!(
                "{} tokens ({} visible patches and the class token)",
                cost.encoder_tokens, settings.kept
            ),
        ),
        ("Ld", format!("{} tokens", cost.decoder_tokens)),
    ]);
    lines
}
