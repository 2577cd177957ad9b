//! `--dry-run`: the plan of a run, trained on nothing.

use std::path::Path;

use longmae_report::{Memory, ModelShape};

use super::plan::FineTuning;
use super::settings::Settings;
use crate::run::dry_run::{self, tower};
use crate::run::weights::open_weights;

/// Expected memory of the run at its peak, in bytes.
pub fn memory(settings: &Settings) -> anyhow::Result<f64> {
    Ok(memory_estimate(settings)?.total_bytes)
}

fn memory_estimate(settings: &Settings) -> anyhow::Result<Memory> {
    let common = &settings.common;
    let model = dry_run::activations(common.compute);
    Ok(shape(settings).encoder_memory_estimate(common.batching.batch_size, &model)?)
}

/// Prints the plan.
pub fn print(name: &str, settings: &Settings) -> anyhow::Result<()> {
    let common = &settings.common;
    let cost = shape(settings).encoder_cost()?;
    let mut lines = vec![("model", common.model.clone())];
    lines.extend(dry_run::image(common));
    lines.push(("pool", settings.pool.to_string()));
    lines.extend(dry_run::expense(common, &cost, &memory_estimate(settings)?));
    let scale = settings.layer_decay.powi(common.encoder.tower.depth as i32 + 1);
    lines.push((
        "layer decay",
        format!("{}: the first layer at {scale:.2e} of the rate", settings.layer_decay),
    ));
    if let Some(weights) = &common.init_weights {
        let checkpoint = open_weights(Path::new(weights))?;
        let kind = checkpoint.kind().map_or_else(|| "unknown".to_owned(), |kind| kind.to_string());
        lines.push(("start from", format!("{} ({kind})", checkpoint.path().display())));
    }
    lines.extend(dry_run::schedule::<FineTuning>(settings)?);
    dry_run::print(name, lines);
    Ok(())
}

/// An encoder that sees all patches; the decoder takes no part.
fn shape(settings: &Settings) -> ModelShape {
    let vit = settings.common.encoder;
    ModelShape {
        grid: (vit.grid.rows(), vit.grid.cols()),
        patch_size: vit.grid.patch(),
        channels: vit.channels,
        kept: vit.grid.len(),
        encoder: tower(&vit.tower),
        decoder: tower(&vit.tower),
        decoder_downsampling: 1,
        pred_downsampling: 1,
        key_bias: vit.tower.key_bias,
    }
}
