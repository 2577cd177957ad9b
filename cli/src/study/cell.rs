//! One run of a study: trained, probed, measured.

use std::fs::{self, File};
use std::io::BufReader;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, bail};
use longmae_report::{History, Step, write_atomic};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::child::{self, Ended, Program};
use super::file::ProbeFile;
use super::folder::CellFolder;
use crate::device::DeviceName;
use crate::run::{ENCODER, METRICS, RECIPE};

/// The share of the steps, the last ones, that the loss is the mean of.
const LAST: f64 = 0.1;

/// What was measured of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CellResult {
    /// The probe that was made, to make it again if another one is wanted.
    pub probe: Option<ProbeFile>,
    /// Mean training loss of the last tenth of the steps.
    pub loss: f64,
    /// The last validation loss, where there is validation.
    pub val_loss: Option<f64>,
    /// Share of the images whose class neighbours tell.
    pub knn_top1: Option<f64>,
    /// Share of the images whose class a linear classifier tells.
    pub linear_top1: Option<f64>,
    pub steps: u64,
    /// Middle of the steps' seconds, without data and saving.
    pub step_seconds: f64,
    /// All of its training.
    pub hours: f64,
    /// Memory at the peak.
    pub rss_mb: f64,
    /// Runs of the study that were trained at once, which is what its times are worth.
    pub jobs: usize,
    /// Processes that trained it.
    pub ranks: usize,
}

/// How a run is to be done.
pub struct Work<'a> {
    pub folder: &'a CellFolder,
    pub probe: Option<&'a ProbeFile>,
    /// Threads of the computation, where the recipe does not say.
    pub threads: Option<usize>,
    /// Where the row trains, and is probed.
    pub device: DeviceName,
    pub jobs: usize,
    pub ranks: usize,
    pub stop: &'a AtomicBool,
}

impl CellResult {
    /// Reads what was measured; none if that is not all there yet.
    pub fn read(folder: &CellFolder) -> anyhow::Result<Option<Self>> {
        let path = folder.result();
        let Ok(text) = fs::read_to_string(&path) else { return Ok(None) };
        let result = serde_json::from_str(&text);
        Ok(Some(result.with_context(|| path.display().to_string())?))
    }
}

impl Work<'_> {
    /// Trains, probes and measures, each if it is not done; none if it was asked to stop.
    pub fn run(&self) -> anyhow::Result<Option<CellResult>> {
        let before = CellResult::read(self.folder)?;
        if let Some(result) = before.filter(|result| result.probe.as_ref() == self.probe) {
            return Ok(Some(result));
        }
        if self.train()? == Ended::Stopped {
            return Ok(None);
        }
        let (mut knn, mut linear) = (None, None);
        if let Some(probe) = self.probe {
            if self.neighbours(probe)? == Ended::Stopped || self.linear(probe)? == Ended::Stopped {
                return Ok(None);
            }
            knn = Some(number(&self.folder.knn(), &["weighted", "top1"])?);
            linear = Some(number(&self.folder.probe().join("evaluation.json"), &["top1"])?);
        }
        let result = CellResult { knn_top1: knn, linear_top1: linear, ..self.measured()? };
        write_atomic(self.folder.result(), serde_json::to_string_pretty(&result)?.as_bytes())?;
        Ok(Some(result))
    }

    fn encoder(&self) -> std::path::PathBuf {
        self.folder.run().join(ENCODER)
    }

    fn train(&self) -> anyhow::Result<Ended> {
        if self.encoder().exists() {
            // Written when everything else is.
            return Ok(Ended::Well);
        }
        child::wait_for(&self.folder.run().join(RECIPE), self.stop)?;
        let mut program = Program::of_ranks(self.ranks)?;
        let command = &mut program.command;
        command.arg("pretrain").arg("--recipe").arg(self.folder.recipe());
        command.arg("--out").arg(self.folder.run()).args(["--resume", "auto"]);
        if let Some(threads) = self.threads {
            command.args(["--threads", &threads.to_string()]);
        }
        let ended = program.run(&self.folder.log(), None, self.stop)?;
        if ended == Ended::Well && !self.encoder().exists() {
            bail!("its training was stopped from outside (see {})", self.folder.log().display());
        }
        Ok(ended)
    }

    fn neighbours(&self, probe: &ProbeFile) -> anyhow::Result<Ended> {
        let mut program = Program::alone()?;
        program.command.arg("knn").arg(self.encoder()).arg("--json");
        program.command.args(flags(probe, "--crop"));
        program.command.args(["--device", &self.device.to_string()]);
        if let Some(k) = probe.k {
            program.command.args(["--k", &k.to_string()]);
        }
        program.run(&self.folder.log(), Some(&self.folder.knn()), self.stop)
    }

    fn linear(&self, probe: &ProbeFile) -> anyhow::Result<Ended> {
        let out = self.folder.probe();
        if out.exists() {
            // What a probe that was cut off left.
            fs::remove_dir_all(&out).with_context(|| out.display().to_string())?;
        }
        let mut program = Program::alone()?;
        let command = &mut program.command;
        command.args(["linprobe", "--exact", "--init-weights"]).arg(self.encoder());
        command.arg("--out").arg(&out).args(flags(probe, "--eval-crop"));
        command.args(["--device", &self.device.to_string()]);
        if let Some(c) = &probe.c {
            let c: Vec<String> = c.iter().map(f64::to_string).collect();
            command.args(["--c", &c.join(",")]);
        }
        if let Some(threads) = self.threads {
            command.args(["--threads", &threads.to_string()]);
        }
        program.run(&self.folder.log(), None, self.stop)
    }

    /// What the run says of itself.
    fn measured(&self) -> anyhow::Result<CellResult> {
        let path = self.folder.run().join(METRICS);
        let file = File::open(&path).with_context(|| path.display().to_string())?;
        let history = History::read(BufReader::new(file))?;
        let steps = &history.steps;
        let Some(last) = steps.last() else { bail!("{}: no step", path.display()) };
        let count = ((steps.len() as f64 * LAST).round() as usize).max(1);
        let losses: Vec<f64> = steps[steps.len() - count..]
            .iter()
            .map(|step| step.loss)
            .filter(|loss| loss.is_finite())
            .collect();
        if losses.is_empty() {
            bail!(
                "{}: no finite loss in the last {count} steps: training diverged",
                path.display()
            );
        }
        let evaluations = history.evaluations.get("eval").and_then(|list| list.last());
        Ok(CellResult {
            probe: self.probe.cloned(),
            loss: losses.iter().sum::<f64>() / losses.len() as f64,
            val_loss: evaluations.and_then(|last| last.numbers.get("loss").copied()),
            knn_top1: None,
            linear_top1: None,
            steps: last.step,
            step_seconds: middle(steps.iter().map(|step| step.step_seconds)),
            hours: steps.iter().map(Step::seconds).filter(|s| s.is_finite()).sum::<f64>() / 3600.0,
            rss_mb: steps.iter().map(|step| step.rss_mb).fold(0.0, f64::max),
            jobs: self.jobs,
            ranks: self.ranks,
        })
    }
}

/// What neighbours and the linear probe are told alike; `crop` is what they call it.
fn flags(probe: &ProbeFile, crop: &str) -> Vec<String> {
    let said = [
        ("--data", &probe.data),
        ("--val-data", &probe.val_data),
        (crop, &probe.crop),
        ("--pool", &probe.pool),
    ];
    let said = said.into_iter().filter_map(|(flag, value)| Some([flag.to_owned(), value.clone()?]));
    said.flatten().collect()
}

/// A number in a file of JSON.
fn number(path: &Path, keys: &[&str]) -> anyhow::Result<f64> {
    let place = || path.display().to_string();
    let text = fs::read_to_string(path).with_context(place)?;
    let value: Value = serde_json::from_str(&text).with_context(place)?;
    let found = keys.iter().fold(&value, |value, key| &value[*key]).as_f64();
    found.with_context(|| format!("{}: no number {}", path.display(), keys.join(".")))
}

/// The median; the lower of two in the middle.
pub fn middle(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.filter(|value| value.is_finite()).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_is_the_lower_one_of_two() {
        assert_eq!(middle([3.0, 1.0, f64::NAN, 2.0].into_iter()), 2.0);
        assert_eq!(middle([4.0, 1.0, 2.0, 3.0].into_iter()), 2.0);
        assert!(middle(std::iter::empty()).is_nan());
    }
}
