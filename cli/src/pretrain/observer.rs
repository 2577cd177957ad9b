//! What happens while the engine trains: progress, TensorBoard, validation, pictures, the loss curve.

use std::fs;
use std::path::Path;

use longmae_report::{Series, encode_png, loss_svg, write_atomic};
use longmae_train::{
    BoxError, EvalRecord, EventWriter, Observer, Progress, StepRecord, TrainConfig,
};

use super::data::Sources;
use super::folder::RunFolder;
use super::pictures::Pictures;
use super::task::PretrainTask;
use super::validation::Validation;
use crate::settings::Settings;
use crate::terminal::{StepBar, Terminal};

/// Watches one run.
pub struct PretrainObserver {
    settings: Settings,
    folder: RunFolder,
    bar: StepBar,
    events: EventWriter,
    validation: Option<Validation>,
    pictures: Pictures,
    total_steps: u64,
    steps_per_epoch: u64,
}

/// The run to watch.
pub struct Watched<'a> {
    pub settings: &'a Settings,
    pub sources: &'a Sources,
    pub folder: &'a RunFolder,
    pub config: &'a TrainConfig,
    /// Steps done before.
    pub done: u64,
}

impl PretrainObserver {
    pub fn new(
        terminal: &Terminal,
        watched: &Watched<'_>,
        pictures: Pictures,
    ) -> anyhow::Result<Self> {
        let Watched { settings, sources, folder, config, done } = *watched;
        Ok(Self {
            settings: settings.clone(),
            folder: folder.clone(),
            bar: terminal.bar(done, config.total_steps),
            events: EventWriter::resume(folder.path(), done)?,
            validation: sources.validation.clone().map(Validation::new),
            pictures,
            total_steps: config.total_steps,
            steps_per_epoch: config.steps_per_epoch,
        })
    }

    /// Takes the progress bar off the terminal.
    pub fn close(&self) {
        self.bar.close();
    }

    fn scalars(&mut self, record: &StepRecord) -> std::io::Result<()> {
        for (tag, value) in [
            ("train/loss", record.loss),
            ("train/lr", record.lr),
            ("train/grad_norm", record.grad_norm),
            ("speed/images_per_second", record.images_per_second),
            ("speed/data_seconds", record.data_seconds),
        ] {
            self.events.scalar(tag, record.step, value)?;
        }
        Ok(())
    }

    fn draw(&mut self, task: &PretrainTask, progress: &Progress) -> anyhow::Result<()> {
        let step = progress.step;
        let title = match progress.loss {
            Some(loss) => format!("step {step} of {}, training loss {loss:.4}", self.total_steps),
            None => format!("step {step} of {}", self.total_steps),
        };
        let picture = self.pictures.draw(&task.mae, &title)?;
        let png = encode_png(&picture)?;
        let path = self.folder.picture_path(step);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        write_atomic(&path, &png)?;
        let (width, height) = picture.dimensions();
        self.events.image_png("reconstructions", step, width, height, 3, png)?;
        self.events.flush()?;
        self.draw_curve()
    }

    /// Draws the loss from the metrics, which hold the whole run, resumed or not.
    fn draw_curve(&self) -> anyhow::Result<()> {
        let text = fs::read_to_string(self.folder.metrics_path())?;
        let mut train = Vec::new();
        let mut eval = Vec::new();
        for line in text.lines() {
            let Ok(record) = serde_json::from_str::<serde_json::Value>(line) else { continue };
            let point = (
                record["epoch"].as_f64().unwrap_or(0.0),
                record["loss"].as_f64().unwrap_or(f64::NAN),
            );
            match record["kind"].as_str() {
                Some("train" | "skip") => train.push(point),
                Some("eval") => eval.push(point),
                _ => {}
            }
        }
        let mut series = vec![Series::line("training", train)];
        if !eval.is_empty() {
            series.push(Series::dots("validation (fixed masks)", eval));
        }
        let norm_pix = self.settings.mae.norm_pix_loss;
        let label = if norm_pix { "loss (normalised pixels)" } else { "loss (raw pixels)" };
        let svg = loss_svg("Masked autoencoder", "epoch", label, &series)?;
        Ok(write_atomic(self.folder.loss_path(), svg.as_bytes())?)
    }
}

impl Observer<PretrainTask> for PretrainObserver {
    fn step(&mut self, _task: &PretrainTask, record: &StepRecord) -> Result<(), BoxError> {
        self.bar.step(record);
        Ok(self.scalars(record)?)
    }

    fn epoch(
        &mut self,
        task: &PretrainTask,
        progress: &Progress,
    ) -> Result<Vec<EvalRecord>, BoxError> {
        let Some(validation) = &mut self.validation else { return Ok(Vec::new()) };
        let Progress { step, epoch, .. } = *progress;
        let last = step == self.total_steps;
        let every = self.settings.validation.every.saturating_mul(self.steps_per_epoch);
        if !last && !step.is_multiple_of(every) {
            return Ok(Vec::new());
        }
        let loss = validation.loss(&task.mae, &self.settings)?;
        self.events.scalar("validation/loss", step, loss)?;
        self.bar.say(&format!("epoch {epoch:.2}: validation loss {loss:.4}"));
        Ok(vec![EvalRecord { kind: "eval", step, epoch, loss }])
    }

    fn saved(
        &mut self,
        task: &PretrainTask,
        progress: &Progress,
        folder: &Path,
    ) -> Result<(), BoxError> {
        tracing::info!("saved {}", folder.display());
        Ok(self.draw(task, progress)?)
    }
}
