//! The loss curve of a run, kept as it goes on.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use longmae_report::{History, Series, loss_svg, write_atomic};

/// Training and validation loss over epochs.
pub struct Curve {
    label: &'static str,
    training: Vec<(f64, f64)>,
    validation: Vec<(f64, f64)>,
}

impl Curve {
    /// What the metrics of a run hold so far; nothing for a run that starts.
    pub fn read(metrics: &Path, norm_pix_loss: bool) -> anyhow::Result<Self> {
        let label = if norm_pix_loss { "loss (normalised pixels)" } else { "loss (raw pixels)" };
        let history = History::read(BufReader::new(File::open(metrics)?))?;
        let training = history.steps.iter().map(|step| (step.epoch, step.loss)).collect();
        let mut curve = Self { label, training, validation: Vec::new() };
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
            series.push(Series::dots("validation (fixed masks)", self.validation.clone()));
        }
        let svg = loss_svg("Masked autoencoder", "epoch", self.label, &series)?;
        Ok(write_atomic(path, svg.as_bytes())?)
    }
}
