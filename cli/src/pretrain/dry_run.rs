//! `--dry-run`: the plan of a run, trained on nothing.

use std::path::Path;

use longmae_ops::{Compute, Kernels, Precision};
use longmae_report::{ActivationModel, Cost, Memory, ModelShape, Tower};
use longmae_train::{Every, SaveEvery};
use longmae_vit::TowerConfig;

use super::info;
use super::plan::Pretraining;
use super::settings::Settings;
use crate::output::line;
use crate::run::{Sources, train_config};
use crate::terminal::plural;

/// Expected memory of the run at its peak, in bytes.
pub fn memory(settings: &Settings) -> anyhow::Result<f64> {
    Ok(memory_estimate(settings)?.total_bytes)
}

fn memory_estimate(settings: &Settings) -> anyhow::Result<Memory> {
    let batch = settings.common.batching.batch_size;
    let Compute { kernels, precision, grad_checkpoint } = settings.common.compute;
    let model = match (kernels, precision) {
        (Kernels::Reference, _) => ActivationModel::plain(),
        (Kernels::Fused, Precision::Fp32) => ActivationModel::fused(4.0, grad_checkpoint),
        (Kernels::Fused, Precision::Bf16) => ActivationModel::fused(2.0, grad_checkpoint),
    };
    Ok(shape(settings).memory_estimate(batch, &model)?)
}

/// Prints the plan.
pub fn print(name: &str, settings: &Settings) -> anyhow::Result<()> {
    let cost = shape(settings).cost()?;
    let memory = memory_estimate(settings)?;
    line(format!("plan of {name} (nothing is trained)"));
    for (what, value) in
        sequence(settings, &cost).into_iter().chain(expense(settings, &cost, &memory))
    {
        line(format!("  {what:<16} {value}"));
    }
    if let Some(weights) = &settings.common.init_weights {
        let checkpoint = info::open_weights(Path::new(weights))?;
        let kind = checkpoint.kind().map_or_else(|| "unknown".to_owned(), |kind| kind.to_string());
        line(format!("  {:<16} {} ({kind})", "start from", checkpoint.path().display()));
    }
    for (what, value) in schedule(settings)? {
        line(format!("  {what:<16} {value}"));
    }
    Ok(())
}

fn shape(settings: &Settings) -> ModelShape {
    let tower = |config: &TowerConfig| Tower {
        dim: config.dim,
        depth: config.depth,
        heads: config.heads,
        mlp_ratio: config.mlp_ratio,
    };
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

type Lines = Vec<(&'static str, String)>;

fn sequence(settings: &Settings, cost: &Cost) -> Lines {
    let grid = settings.mae.encoder.grid;
    let (height, width) = grid.image_size();
    let unit = settings.masks.unit;
    let decoder = settings.mae.decoder.tower;
    vec![
        ("model", settings.common.model.clone()),
        (
            "decoder",
            format!("{} wide, {} deep, {} heads", decoder.dim, decoder.depth, decoder.heads),
        ),
        (
            "image",
            format!(
                "{height}x{width}x{} in patches of {}",
                settings.common.decode.channels,
                grid.patch()
            ),
        ),
        ("L", format!("{} patches ({}x{})", grid.len(), grid.rows(), grid.cols())),
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
    ]
}

fn expense(settings: &Settings, cost: &Cost, memory: &Memory) -> Lines {
    let millions = |count: u64| format!("{:.2} M parameters", count as f64 / 1e6);
    let batch = settings.common.batching;
    vec![
        ("encoder", millions(cost.encoder_parameters)),
        ("decoder", millions(cost.decoder_parameters)),
        (
            "compute",
            format!(
                "{:.2} GFLOP an image forward, {:.2} a training step",
                cost.forward_flops / 1e9,
                cost.training_flops / 1e9
            ),
        ),
        (
            "memory",
            format!(
                "about {:.2} GB at the peak (estimate: {:.2} GB weights, gradients and moments, {:.2} GB \
                 activations)",
                memory.total_bytes / 1e9,
                memory.parameter_bytes / 1e9,
                memory.activation_bytes / 1e9
            ),
        ),
        (
            "batch",
            format!(
                "{} x {} accumulated x {} = {} images a step",
                batch.batch_size,
                batch.accum_iter,
                plural(batch.ranks as u64, "rank"),
                batch.effective
            ),
        ),
        ("learning rate", format!("{:e} down to {:e}", settings.common.lr, settings.common.min_lr)),
    ]
}

fn schedule(settings: &Settings) -> anyhow::Result<Lines> {
    if settings.common.data.is_none() {
        let epochs = settings.common.epochs;
        return Ok(vec![(
            "steps",
            format!("{epochs} epochs; --data tells how many steps that is"),
        )]);
    }
    let sources = Sources::open(&settings.common)?;
    let per_epoch = sources.steps_per_epoch(&settings.common)?;
    let config = train_config::<Pretraining>(settings, per_epoch)?;
    let mut lines = vec![
        ("images", format!("{} x {} an epoch", sources.train.len(), settings.common.repeat)),
        (
            "steps",
            format!(
                "{} ({} an epoch, {:.2} epochs, {:.2} of warm-up)",
                config.total_steps,
                per_epoch,
                config.schedule.epochs,
                config.schedule.warmup_epochs
            ),
        ),
        ("checkpoints", checkpoints(settings.common.save_every, per_epoch, config.total_steps)),
    ];
    if let Some(held_out) = &sources.validation {
        let every = settings.common.validation.every;
        let images = plural(held_out.len() as u64, "image");
        lines.push(("validation", format!("{images} every {}", plural(every, "epoch"))));
    }
    Ok(lines)
}

fn checkpoints(every: SaveEvery, per_epoch: u64, total: u64) -> String {
    let steps = match every {
        SaveEvery::Time(time) => {
            return format!(
                "every {}, and after step {total}",
                plural(time.as_secs() / 60, "minute")
            );
        }
        SaveEvery::Count(Every::Steps(steps)) => steps,
        SaveEvery::Count(Every::Epochs(epochs)) => epochs.saturating_mul(per_epoch),
    };
    let count = total.div_ceil(steps);
    let first: Vec<String> =
        (1..=count.min(3)).map(|n| n.saturating_mul(steps).min(total).to_string()).collect();
    let rest = if count > 3 { format!(", ... {total} ({count} in all)") } else { String::new() };
    format!("after steps {}{rest}", first.join(", "))
}
