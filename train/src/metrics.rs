use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::{Error, Result};

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
}

/// One evaluation.
#[derive(Debug, Clone, Serialize)]
pub struct EvalRecord {
    /// What was evaluated: `eval` or `probe`.
    pub kind: &'static str,
    /// Optimiser steps done.
    pub step: u64,
    /// Epochs done, with their fraction.
    pub epoch: f64,
    /// Mean loss.
    pub loss: f64,
}

/// `metrics.jsonl`: one JSON object a line.
#[derive(Debug)]
pub struct MetricsLog {
    path: PathBuf,
    file: File,
}

impl MetricsLog {
    /// Opens the log of a run that has done `step` steps and `epoch` epochs: lines about later steps are cut off, and with any
    /// step done a `resume` line is added.
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub fn open(path: &Path, step: u64, epoch: f64) -> Result<Self> {
        let kept = lines_until(path, step)?;
        // Written anew beside the old file, so that a crash here loses no line.
        let fresh = path.with_extension("jsonl.tmp");
        File::create(&fresh)
            .and_then(|mut file| file.write_all(&kept).and_then(|()| file.sync_all()))
            .map_err(Error::io("writing", &fresh))?;
        fs::rename(&fresh, path).map_err(Error::io("writing", path))?;
        let file =
            OpenOptions::new().append(true).open(path).map_err(Error::io("opening", path))?;
        let mut log = Self { path: path.to_owned(), file };
        if step > 0 {
            log.write(&serde_json::json!({"kind": "resume", "step": step, "epoch": epoch}))?;
        }
        Ok(log)
    }

    /// Appends one record.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&mut self, record: &impl Serialize) -> Result<()> {
        let mut line = serde_json::to_vec(record)
            .map_err(|e| Error::io("writing", &self.path)(std::io::Error::other(e)))?;
        line.push(b'\n');
        self.file.write_all(&line).map_err(Error::io("writing", &self.path))
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
