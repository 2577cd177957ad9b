//! What a run says at its beginning and end.

use std::path::Path;

use longmae_data::CorruptSample;
use longmae_ops::Isa;
use longmae_train::TrainConfig;

use super::data::Sources;
use super::dry_run;
use super::folder::RunFolder;
use super::info::Started;
use crate::settings::Settings;
use crate::terminal::{Terminal, plural};

/// The run to watch.
pub struct Watched<'a> {
    pub settings: &'a Settings,
    pub sources: &'a Sources,
    pub folder: &'a RunFolder,
    pub config: &'a TrainConfig,
    /// Steps done before.
    pub done: u64,
}

/// What is said before the first step; nothing more to a run that has done them all.
pub fn begin(
    terminal: &Terminal,
    watched: &Watched<'_>,
    changes: &[String],
    corrupt: &[CorruptSample],
) {
    for change in changes {
        terminal.say(&format!("changed from here on: {change}"));
    }
    let Watched { settings, folder, config, done, .. } = *watched;
    if done >= config.total_steps {
        let path = folder.path().display();
        return terminal.say(&format!("{path} is finished: {} done", plural(done, "step")));
    }
    terminal.say(&greeting(watched));
    for warning in warnings(settings, config, corrupt) {
        tracing::warn!("{warning}");
    }
}

/// What became of the weights to start from: what was made to fit this run, and what was left.
pub fn started(terminal: &Terminal, settings: &Settings, started: &Started) {
    let Some(weights) = &settings.flags.init_weights else { return };
    for (what, lines) in [("adapted from", &started.adapted), ("in part from", &started.left)] {
        if !lines.is_empty() {
            terminal.say(&format!("{what} {weights}:\n  {}", lines.join("\n  ")));
        }
    }
}

/// What begins, or goes on, and where.
fn greeting(watched: &Watched<'_>) -> String {
    let Watched { settings, sources, folder, config, done } = *watched;
    let grid = settings.mae.encoder.grid;
    let model = settings.flags.model.as_deref().unwrap_or_default();
    let images = plural(sources.train.len() as u64, "image");
    let verb = if done == 0 { "training" } else { "resuming" };
    format!(
        "{verb} {model} on {images}: L = {} ({}x{} patches), {} visible, mask unit {}, {} to go\n\
         {} kernels on {}, {}{}\n\
         run folder: {}",
        grid.len(),
        grid.rows(),
        grid.cols(),
        settings.kept,
        settings.masks.unit,
        plural(config.total_steps - done, "step"),
        settings.compute.kernels,
        Isa::current(),
        settings.compute.precision,
        if settings.batching.ranks == 1 {
            String::new()
        } else {
            format!(", {} ranks", settings.batching.ranks)
        },
        folder.path().display()
    )
}

/// What a user would want to know before a long run. Corrupt samples of the first batch were met before there was a log.
fn warnings(
    settings: &Settings,
    config: &TrainConfig,
    early_corrupt: &[CorruptSample],
) -> Vec<String> {
    let replaced = |sample: &CorruptSample| {
        format!("corrupt sample {} is replaced by the next good one: {}", sample.id, sample.reason)
    };
    let mut warnings: Vec<String> = early_corrupt.iter().map(replaced).collect();
    let schedule = config.schedule;
    if schedule.warmup_epochs >= schedule.epochs {
        warnings.push(format!(
            "the run's {:.2} epochs end within the warm-up of {}: the learning rate never reaches its peak",
            schedule.epochs, schedule.warmup_epochs
        ));
    }
    if let (Ok(needed), Some(has)) = (dry_run::memory(settings), memory_of_machine())
        && needed > has
    {
        warnings.push(format!(
            "the run needs about {:.1} GB (estimate), this machine has {:.1} GB: a smaller --batch-size with \
             --accum-iter needs less",
            needed / 1e9,
            has / 1e9
        ));
    }
    warnings
}

/// Bytes of memory that the machine has, where the system tells (Linux).
fn memory_of_machine() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024.0)
}

/// What to do with a finished run.
pub fn next_steps(encoder: &Path) -> String {
    format!(
        "next: look at loss.svg and reconstructions/, then load {} into timm (README, \"Use the encoder\"),\nor \
         train on images of your own: mae-pretrain --data FOLDER --model vit-tiny --image-size 224 --mask-unit 2",
        encoder.display()
    )
}
