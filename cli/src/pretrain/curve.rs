//! The loss curve of a run, kept as it goes on.

use std::fs;
use std::path::Path;

use longmae_report::{Series, loss_svg, write_atomic};

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
        let mut curve = Self { label, training: Vec::new(), validation: Vec::new() };
        for line in fs::read_to_string(metrics)?.lines() {
            let Ok(record) = serde_json::from_str::<serde_json::Value>(line) else { continue };
            let epoch = record["epoch"].as_f64().unwrap_or(0.0);
            let loss = record["loss"].as_f64().unwrap_or(f64::NAN);
            match record["kind"].as_str() {
                Some("train" | "skip") => curve.train(epoch, loss),
                Some("eval") => curve.validate(epoch, loss),
                _ => {}
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
