//! What the user sees: a progress bar on a terminal, plain lines otherwise, and the same in `log.txt`.

use std::fs::OpenOptions;
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::sync::Mutex;

use crate::output;
use anyhow::Context;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use longmae_train::{StepKind, StepRecord};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

/// Where messages go.
#[derive(Clone)]
pub struct Terminal {
    bar: ProgressBar,
    log_every: u64,
}

impl Terminal {
    /// Begins to speak; warnings of the libraries go the same way, and everything into the log file.
    pub fn start(log: &Path, log_every: u64) -> anyhow::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(log);
        let file = file.with_context(|| format!("cannot write {}", log.display()))?;
        // Drawn from the first step on, if at all.
        let bar = ProgressBar::hidden();
        let to_file = fmt::layer()
            .with_ansi(false)
            .with_target(false)
            .with_writer(Mutex::new(file))
            .with_filter(LevelFilter::INFO);
        let above = AboveBar(bar.clone());
        let to_terminal = fmt::layer()
            .with_target(false)
            .without_time()
            .with_writer(move || above.clone())
            .with_filter(LevelFilter::WARN);
        // A second start in one process, as in tests, keeps the first one's way.
        let _ = tracing_subscriber::registry().with(to_file).with(to_terminal).try_init();
        Ok(Self { bar, log_every })
    }

    /// Warnings of a process that has no terminal and no log of its own.
    pub fn warnings_alone() {
        let layer = fmt::layer().with_target(false).without_time().with_writer(std::io::stderr);
        let layer = layer.with_filter(LevelFilter::WARN);
        let _ = tracing_subscriber::registry().with(layer).try_init();
    }

    /// Takes the progress bar away.
    pub fn close(&self) {
        self.bar.finish_and_clear();
    }

    /// Says something on the terminal and in the log.
    pub fn say(&self, text: &str) {
        self.bar.suspend(|| output::line(text));
        for line in text.lines() {
            tracing::info!("{line}");
        }
    }

    /// The bar over a run's steps.
    pub fn bar(&self, done: u64, total: u64) -> StepBar {
        let template = "{bar:24} step {pos}/{len} {msg} {eta} left";
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.bar.set_style(style);
        }
        if std::io::stderr().is_terminal() {
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
        self.bar.set_length(total);
        self.bar.set_position(done);
        self.bar.reset_eta();
        StepBar { terminal: self.clone(), total }
    }
}

/// Shows the steps of a run.
pub struct StepBar {
    terminal: Terminal,
    total: u64,
}

impl StepBar {
    /// Shows a step.
    pub fn step(&self, record: &StepRecord) {
        let bar = &self.terminal.bar;
        let text = describe(record);
        bar.set_message(text.clone());
        bar.set_position(record.step);
        if record.step.is_multiple_of(self.terminal.log_every) || record.step == self.total {
            let left = seconds(bar.eta().as_secs());
            let line = format!("step {}/{} {text} {left} left", record.step, self.total);
            tracing::info!("{line}");
            if bar.is_hidden() {
                output::line(&line);
            }
        }
    }

    /// Says something above the bar.
    pub fn say(&self, text: &str) {
        self.terminal.say(text);
    }
}

fn describe(record: &StepRecord) -> String {
    let waited = record.data_seconds / (record.data_seconds + record.step_seconds);
    let skipped = if record.kind == StepKind::Skip { " skipped (not finite)" } else { "" };
    format!(
        "epoch {:.2} loss {:.4} lr {:.2e} {:.1} images/s data wait {:.0}%{skipped}",
        record.epoch,
        record.loss,
        record.lr,
        record.images_per_second,
        100.0 * waited
    )
}

/// A time as `1h02m`, `3m04s` or `5s`.
fn seconds(all: u64) -> String {
    match (all / 3600, all / 60 % 60, all % 60) {
        (0, 0, s) => format!("{s}s"),
        (0, m, s) => format!("{m}m{s:02}s"),
        (h, m, _) => format!("{h}h{m:02}m"),
    }
}

/// A number with its noun: `1 image`, `2 images`.
pub fn plural(count: u64, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

/// Writes to standard error above the progress bar.
#[derive(Clone)]
struct AboveBar(ProgressBar);

impl Write for AboveBar {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.suspend(|| std::io::stderr().write(bytes))
    }

    fn flush(&mut self) -> std::io::Result<()> {
        std::io::stderr().flush()
    }
}
