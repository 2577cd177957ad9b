//! What a run says at its beginning and end.

use longmae_data::CorruptSample;
use longmae_ops::Isa;
use longmae_train::TrainConfig;

use super::folder::RunFolder;
use super::settings::Common;
use crate::device::DeviceName;
use crate::terminal::{Terminal, plural};

/// What became of weights that a run starts from.
#[derive(Debug, Default)]
pub struct Started {
    /// What was adapted, a line a tensor.
    pub adapted: Vec<String>,
    /// What does not fit, and stays at its initial value or in the file.
    pub left: Vec<String>,
}

/// The run to speak of.
pub struct Begun<'a> {
    pub common: &'a Common,
    pub config: &'a TrainConfig,
    pub folder: &'a RunFolder,
    /// What is trained on what.
    pub subject: String,
    /// What its kind warns of.
    pub warnings: Vec<String>,
    /// Steps done before.
    pub done: u64,
}

/// What is said before the first step; nothing more to a run that has done them all.
pub fn begin(terminal: &Terminal, begun: Begun<'_>, changes: &[String], corrupt: &[CorruptSample]) {
    for change in changes {
        terminal.say(&format!("changed from here on: {change}"));
    }
    if begun.done >= begun.config.total_steps {
        let path = begun.folder.path().display();
        return terminal.say(&format!("{path} is finished: {} done", plural(begun.done, "step")));
    }
    terminal.say(&greeting(&begun));
    for warning in warnings(begun, corrupt) {
        tracing::warn!("{warning}");
    }
}

/// What became of the weights to start from: what was made to fit this run, and what was left.
pub fn started(terminal: &Terminal, common: &Common, started: &Started) {
    let Some(weights) = &common.init_weights else { return };
    for (what, lines) in [("adapted from", &started.adapted), ("in part from", &started.left)] {
        if !lines.is_empty() {
            terminal.say(&format!("{what} {weights}:\n  {}", lines.join("\n  ")));
        }
    }
}

/// What begins, or goes on, and where.
fn greeting(begun: &Begun<'_>) -> String {
    let Begun { common, config, folder, subject, done, .. } = begun;
    let verb = if *done == 0 { "training" } else { "resuming" };
    let ranks = common.batching.ranks;
    format!(
        "{verb} {subject}, {} to go\n\
         {} kernels on {}, {}{}\n\
         run folder: {}",
        plural(config.total_steps - done, "step"),
        common.device.kernels(common.compute.kernels),
        match common.device {
            DeviceName::Cpu => Isa::current().to_string(),
            device => device.to_string(),
        },
        common.compute.precision,
        if ranks == 1 { String::new() } else { format!(", {ranks} ranks") },
        folder.path().display()
    )
}

/// What a user would want to know before a long run. Corrupt samples of the first batch were met before there was a log.
fn warnings(begun: Begun<'_>, early_corrupt: &[CorruptSample]) -> Vec<String> {
    let replaced = |sample: &CorruptSample| {
        format!("corrupt sample {} is replaced by the next good one: {}", sample.id, sample.reason)
    };
    let mut warnings: Vec<String> = early_corrupt.iter().map(replaced).collect();
    let schedule = begun.config.schedule;
    if schedule.warmup_epochs >= schedule.epochs {
        warnings.push(format!(
            "the run's {:.2} epochs end within the warm-up of {}: the learning rate never reaches its peak",
            schedule.epochs, schedule.warmup_epochs
        ));
    }
    warnings.extend(begun.warnings);
    warnings
}

/// A warning if the run needs more memory, in bytes, than the machine has. Of other devices nothing is known.
pub fn too_large(needed: f64, device: DeviceName) -> Option<String> {
    let has = memory_of_machine().filter(|_| device == DeviceName::Cpu)?;
    (needed > has).then(|| {
        format!(
            "the run needs about {:.1} GB (estimate), this machine has {:.1} GB: a smaller --batch-size with \
             --accum-iter needs less",
            needed / 1e9,
            has / 1e9
        )
    })
}

/// Bytes of memory that the machine has, where the system tells (Linux).
fn memory_of_machine() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024.0)
}
