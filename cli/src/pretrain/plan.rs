//! Pre-training as a kind of run.

use std::path::Path;
use std::sync::Arc;

use longmae_mae::Mae;
use longmae_ops::Params;
use longmae_train::{
    AdamWConfig, BestBy, Checkpoints, Collective, OptimizerConfig, TrainConfig, Trainer, Watch,
};
use toml::Table;

use super::batch::{Batch, train_batches};
use super::pictures::{Drawing, Pictures};
use super::probe::Probe;
use super::settings::Settings;
use super::task::PretrainTask;
use super::validation::{self, Validation};
use super::{dry_run, info};
use crate::run::{Chart, ENCODER, Lead, Plan, Prepared, RunFolder, Sources, Started, too_large};
use crate::terminal::{Terminal, plural};

/// A pre-training run, opened.
pub struct Pretraining {
    validation: Option<Arc<dyn longmae_data::Source>>,
    /// Rank 0 alone draws.
    pictures: Option<Pictures>,
    probe: Option<Probe>,
}

impl Plan for Pretraining {
    type Settings = Settings;
    type Batch = Batch;
    type Task = PretrainTask;

    fn default_recipe(typed: &Table) -> (String, Option<&'static str>) {
        // Somebody with data of their own does not want the demo's settings.
        if typed.contains_key("data") {
            let model = typed.get("model").and_then(|model| model.as_str());
            return (model.unwrap_or("pretrain").to_owned(), None);
        }
        ("demo".to_owned(), Some("demo"))
    }

    fn dry_run(name: &str, settings: &Settings) -> anyhow::Result<()> {
        dry_run::print(name, settings)
    }

    fn prepare(settings: &Settings) -> anyhow::Result<Prepared<Self>> {
        let common = &settings.common;
        let sources = Sources::open(common)?;
        let steps_per_epoch = sources.steps_per_epoch(common)?;
        let params = Params::new(common.seed, &common.device.open()?).computing(common.compute);
        let mae = Mae::new(settings.mae, &params)?;
        let started = match common.start_from() {
            Some(path) => info::load_weights(path, &params, settings)?,
            None => Started::default(),
        };
        let pictures = (common.rank == 0).then(|| Pictures::new(sources.shown(), settings));
        Ok(Prepared {
            plan: Self {
                validation: sources.validation.clone(),
                pictures: pictures.transpose()?,
                probe: Probe::open(settings)?,
            },
            batches: train_batches(&sources.train, settings, mae.device())?,
            task: PretrainTask::new(mae, params, settings, steps_per_epoch),
            sources,
            started,
            steps_per_epoch,
        })
    }

    fn optimizer(settings: &Settings) -> OptimizerConfig {
        AdamWConfig { weight_decay: settings.common.weight_decay, ..AdamWConfig::default() }.into()
    }

    fn best() -> BestBy {
        validation::BEST
    }

    fn chart(&self, settings: &Settings) -> Chart {
        let normalised = settings.mae.norm_pix_loss;
        Chart {
            title: "Masked autoencoder",
            loss: if normalised { "loss (normalised pixels)" } else { "loss (raw pixels)" },
            validation: "validation (fixed masks)",
        }
    }

    fn subject(&self, settings: &Settings, sources: &Sources) -> String {
        let grid = settings.mae.encoder.grid;
        format!(
            "{} on {}: L = {} ({}x{} patches), {} visible, mask unit {}",
            settings.common.model,
            plural(sources.train.len() as u64, "image"),
            grid.len(),
            grid.rows(),
            grid.cols(),
            settings.kept,
            settings.masks.unit,
        )
    }

    fn warnings(&self, settings: &Settings) -> Vec<String> {
        let needed = dry_run::memory(settings).ok();
        needed.and_then(|needed| too_large(needed, settings.common.device)).into_iter().collect()
    }

    fn watch<'a>(
        &'a self,
        watch: Watch<'a, PretrainTask>,
        settings: &'a Settings,
        config: &TrainConfig,
        collective: &Arc<dyn Collective>,
        lead: Option<&Lead<'_>>,
    ) -> anyhow::Result<Watch<'a, PretrainTask>> {
        let watch = match &self.validation {
            Some(images) => {
                watch.hook(Validation::new(images.clone(), settings, collective.clone()))
            }
            None => watch,
        };
        let watch = self.probe.iter().fold(watch, Watch::hook);
        Ok(match (&self.pictures, lead) {
            (Some(pictures), Some(lead)) => {
                watch.hook(Drawing::new(pictures, lead, config, settings))
            }
            _ => watch,
        })
    }

    fn finish(
        &self,
        _settings: &Settings,
        trainer: &Trainer<PretrainTask>,
        folder: &RunFolder,
        terminal: &Terminal,
    ) -> anyhow::Result<()> {
        finish(trainer, folder, terminal)
    }
}

/// Writes the encoder and says where everything is.
fn finish(
    trainer: &Trainer<PretrainTask>,
    folder: &RunFolder,
    terminal: &Terminal,
) -> anyhow::Result<()> {
    let progress = trainer.progress();
    let encoder = folder.path().join(ENCODER);
    trainer.task().save_encoder(&encoder, progress.step, progress.loss)?;
    if let Some(ema) = trainer.ema() {
        let averaged = folder.path().join("encoder-ema.safetensors");
        let save = || trainer.task().save_encoder(&averaged, progress.step, progress.loss);
        ema.in_place_of_weights(save)??;
    }
    let loss = progress.loss.map_or_else(|| "unknown".to_owned(), |loss| format!("{loss:.4}"));
    terminal.say(&format!("done: {}, last loss {loss}", plural(progress.step, "step")));
    if let Some(best) = trainer.best() {
        let path = Checkpoints::new(folder.checkpoints()).path(best.step);
        terminal.say(&format!("best validation loss {:.4}: {}", best.value, path.display()));
    }
    terminal.say(&contents(folder));
    terminal.say(&next_steps(&encoder));
    Ok(())
}

/// What is where.
fn contents(folder: &RunFolder) -> String {
    let averaged = folder.path().join("encoder-ema.safetensors").exists();
    let average = if averaged { "; encoder-ema.safetensors its average" } else { "" };
    format!(
        "everything is in {}:\n  \
         encoder.safetensors  the pre-trained encoder{average}\n  \
         checkpoints/         whole model and optimiser\n  \
         loss.svg             the loss curve\n  \
         reconstructions/     what the model sees and predicts\n  \
         metrics.jsonl        every step; events.out.tfevents.* is the same for TensorBoard\n  \
         recipe.toml          every setting; log.txt what was said; changes.jsonl what changed on the way",
        folder.path().display()
    )
}

/// What to do with a finished run.
fn next_steps(encoder: &Path) -> String {
    format!(
        "next: look at loss.svg and reconstructions/, then load {} into timm (README, \"Use the encoder\"),\nor \
         train on images of your own: mae-pretrain --data FOLDER --model vit-tiny --image-size 224 --mask-unit 2",
        encoder.display()
    )
}
