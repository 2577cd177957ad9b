use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::{Error, Progress, Result};

/// What a line about a step says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum StepKind {
    /// The step updated the weights.
    Train,
    /// Loss or gradient was not finite: the weights were left alone.
    Skip,
}

/// One optimiser step.
#[derive(Debug, Clone, Serialize)]
pub struct StepRecord {
    /// Whether the weights were updated.
    pub kind: StepKind,
    /// Steps done, this one included.
    pub step: u64,
    /// Epochs done, with their fraction.
    pub epoch: f64,
    /// Mean loss over the step's micro-batches; null in the file when not finite.
    pub loss: f64,
    /// Learning rate of this step.
    pub lr: f64,
    /// L2 norm of the gradient before clipping; null in the file when not finite.
    pub grad_norm: f64,
    /// Seconds from batch in hand to update done, without data, logging or saving.
    pub step_seconds: f64,
    /// Seconds waited for data.
    pub data_seconds: f64,
    /// Images over the sum of both.
    pub images_per_second: f64,
    /// Resident memory in megabytes, where the system tells.
    pub rss_mb: Option<f64>,
    /// Seconds that the update waited for a checkpoint to be written, if it had to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub save_seconds: Option<f64>,
    /// The samples of a skipped step whose loss was not finite, or all if only the gradient was not.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub samples: Vec<String>,
}

/// What a hook evaluated: numbers by name.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EvalRecord {
    /// What was evaluated: `eval`, `eval_ema`, `probe`.
    pub kind: &'static str,
    /// Optimiser steps done.
    pub step: u64,
    /// Epochs done, with their fraction.
    pub epoch: f64,
    /// The numbers, beside the other fields in the file; null there when not finite.
    #[serde(flatten)]
    pub values: BTreeMap<&'static str, f64>,
}

impl EvalRecord {
    /// One number, evaluated at `progress`.
    pub fn new(kind: &'static str, progress: &Progress, name: &'static str, value: f64) -> Self {
        let Progress { step, epoch, .. } = *progress;
        Self { kind, step, epoch, values: BTreeMap::from([(name, value)]) }
    }
}

/// The run went back to an earlier checkpoint's weights.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct RollbackRecord {
    /// `rollback`.
    pub kind: &'static str,
    /// Optimiser steps done, which go on.
    pub step: u64,
    /// Epochs done, with their fraction.
    pub epoch: f64,
    /// The step whose weights the run went back to.
    pub to: u64,
    /// The loss that spiked.
    pub loss: f64,
}

/// `metrics.jsonl`: one JSON object a line.
#[derive(Debug)]
pub struct MetricsLog {
    path: PathBuf,
    /// None where another rank writes.
    file: Option<File>,
}

impl MetricsLog {
    /// A log that is written nowhere, for ranks other than 0.
    pub fn nowhere() -> Self {
        Self { path: PathBuf::new(), file: None }
    }

    /// Opens the log of a run: lines about later steps than `progress` are cut off, and with any step done a `resume` line
    /// is added, with the `changes` of its settings in words.
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub fn open(path: &Path, progress: &Progress, changes: &[String]) -> Result<Self> {
        let Progress { step, epoch, .. } = *progress;
        let kept = lines_until(path, step)?;
        // Written anew beside the old file, so that a crash here loses no line.
        let fresh = path.with_extension("jsonl.tmp");
        File::create(&fresh)
            .and_then(|mut file| file.write_all(&kept).and_then(|()| file.sync_all()))
            .map_err(Error::io("writing", &fresh))?;
        fs::rename(&fresh, path).map_err(Error::io("writing", path))?;
        let file =
            OpenOptions::new().append(true).open(path).map_err(Error::io("opening", path))?;
        let mut log = Self { path: path.to_owned(), file: Some(file) };
        if step > 0 {
            let mut line = serde_json::json!({"kind": "resume", "step": step, "epoch": epoch});
            if !changes.is_empty() {
                line["changes"] = changes.into();
            }
            log.write(&line)?;
        }
        Ok(log)
    }

    /// Appends one record.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&mut self, record: &impl Serialize) -> Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        let mut line = serde_json::to_vec(record)
            .map_err(|e| Error::io("writing", &self.path)(std::io::Error::other(e)))?;
        line.push(b'\n');
        file.write_all(&line).map_err(Error::io("writing", &self.path))
    }

    /// A second handle on the file, to flush it to the disk from another thread.
    pub(crate) fn handle(&self) -> Result<Option<File>> {
        let handle = self.file.as_ref().map(File::try_clone).transpose();
        handle.map_err(Error::io("opening", &self.path))
    }
}

/// The whole lines of a log that are about steps up to `step`; nothing for a run that starts.
fn lines_until(path: &Path, step: u64) -> Result<Vec<u8>> {
    let mut kept = Vec::new();
    if step == 0 || !path.exists() {
        return Ok(kept);
    }
    let file = File::open(path).map_err(Error::io("reading", path))?;
    for line in BufReader::new(file).split(b'\n') {
        let mut line = line.map_err(Error::io("reading", path))?;
        // A line that was cut by a crash does not parse, and what follows it is later still.
        let Ok(record) = serde_json::from_slice::<serde_json::Value>(&line) else { break };
        if record["step"].as_u64().is_some_and(|s| s <= step) {
            line.push(b'\n');
            kept.append(&mut line);
        }
    }
    Ok(kept)
}
