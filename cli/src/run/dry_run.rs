//! What the plans of all kinds of runs say: cost, batches, learning rate, steps.

use longmae_ops::{Compute, Kernels, Precision};
use longmae_report::{ActivationModel, Cost, Memory, Tower};
use longmae_train::{Every, SaveEvery};
use longmae_vit::TowerConfig;

use super::Sources;
use super::plan::Plan;
use super::session::train_config;
use super::settings::{Common, RunSettings};
use crate::device::DeviceName;
use crate::output::line;
use crate::terminal::plural;

/// What is said, and its value.
pub type Lines = Vec<(&'static str, String)>;

/// Prints a plan.
pub fn print(name: &str, lines: impl IntoIterator<Item = (&'static str, String)>) {
    line(format!("plan of {name} (nothing is trained)"));
    for (what, value) in lines {
        line(format!("  {what:<16} {value}"));
    }
}

/// What activations take, as the run computes.
pub fn activations(compute: Compute) -> ActivationModel {
    let Compute { kernels, precision, grad_checkpoint } = compute;
    match (kernels, precision) {
        (Kernels::Reference, _) => ActivationModel::plain(),
        (Kernels::Fused, Precision::Fp32) => ActivationModel::fused(4.0, grad_checkpoint),
        (Kernels::Fused, Precision::Bf16) => ActivationModel::fused(2.0, grad_checkpoint),
    }
}

/// A tower's sizes.
pub fn tower(config: &TowerConfig) -> Tower {
    Tower { dim: config.dim, depth: config.depth, heads: config.heads, mlp_ratio: config.mlp_ratio }
}

/// The image and its sequence.
pub fn image(common: &Common) -> Lines {
    let grid = common.encoder.grid;
    let (height, width) = grid.image_size();
    vec![
        (
            "image",
            format!("{height}x{width}x{} in patches of {}", common.decode.channels, grid.patch()),
        ),
        ("L", format!("{} patches ({}x{})", grid.len(), grid.rows(), grid.cols())),
    ]
}

/// Parameters, compute, memory, batch and learning rate.
pub fn expense(common: &Common, cost: &Cost, memory: &Memory) -> Lines {
    let millions = |count: u64| format!("{:.2} M parameters", count as f64 / 1e6);
    let mut lines = vec![("encoder", millions(cost.encoder_parameters))];
    if cost.decoder_parameters > 0 {
        lines.push(("decoder", millions(cost.decoder_parameters)));
    }
    lines.extend([
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
                "about {:.2} GB at the peak (estimate{}: {:.2} GB weights, gradients and moments, {:.2} GB \
                 activations)",
                memory.total_bytes / 1e9,
                if common.device == DeviceName::Cpu { "" } else { " for the CPU's kernels" },
                memory.parameter_bytes / 1e9,
                memory.activation_bytes / 1e9
            ),
        ),
    ]);
    lines.extend(optimisation(common));
    lines
}

/// Batch and learning rate.
pub fn optimisation(common: &Common) -> Lines {
    let batch = common.batching;
    vec![
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
        ("learning rate", format!("{:e} down to {:e}", common.lr, common.min_lr)),
    ]
}

/// Steps, checkpoints and validation; what is known without the data, if none is named.
pub fn schedule<P: Plan>(settings: &P::Settings) -> anyhow::Result<Lines> {
    let common = settings.common();
    if common.data.is_none() {
        let epochs = common.epochs;
        return Ok(vec![(
            "steps",
            format!("{epochs} epochs; --data tells how many steps that is"),
        )]);
    }
    schedule_of::<P>(settings, &Sources::open(common)?)
}

/// The same of images that were opened.
pub fn schedule_of<P: Plan>(settings: &P::Settings, sources: &Sources) -> anyhow::Result<Lines> {
    let common = settings.common();
    let per_epoch = sources.steps_per_epoch(common)?;
    let config = train_config::<P>(settings, per_epoch)?;
    let mut lines = vec![
        ("images", format!("{} x {} an epoch", sources.train.len(), common.repeat)),
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
        ("checkpoints", checkpoints(common.save_every, per_epoch, config.total_steps)),
    ];
    if let Some(held_out) = &sources.validation {
        let every = common.validation.every;
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
