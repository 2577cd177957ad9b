//! The loss curve of a run, kept as it goes on.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use longmae_report::{History, Series, loss_svg, write_atomic};

/// What the loss curve of a kind of run says of itself.
#[derive(Debug, Clone, Copy)]
pub struct Chart {
    pub title: &'static str,
    /// Of the axis of losses.
    pub loss: &'static str,
    pub validation: &'static str,
}

/// Training and validation loss over epochs.
pub struct Curve {
    chart: Chart,
    training: Vec<(f64, f64)>,
    validation: Vec<(f64, f64)>,
}

impl Curve {
    /// What the metrics of a run hold so far; nothing for a run that starts.
    pub fn read(metrics: &Path, chart: Chart) -> anyhow::Result<Self> {
        let history = History::read(BufReader::new(File::open(metrics)?))?;
        let training = history.steps.iter().map(|step| (step.epoch, step.loss)).collect();
        let mut curve = Self { chart, training, validation: Vec::new() };
        for record in history.evaluations.get("eval").into_iter().flatten() {
            if let Some(loss) = record.numbers.get("loss") {
                curve.validate(record.epoch, *loss);
            }
        }
        Ok(curve)
    }

    /// Adds a step's loss.
    pub fn train(&mut self, epoch: f64, loss: f64) {
        self.training.push((epoch, loss));
    }

    /// Adds a validation loss.
    pub fn validate(&mut self, epoch: f64, loss: f64) {
        self.validation.push((epoch, loss));
    }

    /// Draws it into a file.
    pub fn draw(&self, path: &Path) -> anyhow::Result<()> {
        let mut series = vec![Series::line("training", self.training.clone())];
        if !self.validation.is_empty() {
            series.push(Series::dots(self.chart.validation, self.validation.clone()));
        }
        let svg = loss_svg(self.chart.title, "epoch", self.chart.loss, &series)?;
        Ok(write_atomic(path, svg.as_bytes())?)
    }
}
