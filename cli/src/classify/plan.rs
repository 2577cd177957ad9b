//! Fine-tuning as a kind of run.

use std::sync::Arc;

use longmae_data::Source;
use longmae_finetune::{Classifier, ClassifierConfig};
use longmae_ops::Params;
use longmae_train::{
    AdamWConfig, BestBy, Collective, OptimizerConfig, TrainConfig, Trainer, Watch,
};
use toml::Table;

use super::batch::{Batch, Collate, train_batches};
use super::dry_run;
use super::evaluate::Evaluation;
use super::settings::Settings;
use super::task::ClassifyTask;
use super::validation::{BEST, validated};
use crate::labels::Classes;
use crate::run::{
    CLASSIFIER, Chart, Lead, Plan, Prepared, RunFolder, Sources, Started, too_large, weights,
};
use crate::terminal::{Terminal, plural};

/// A fine-tuning run, opened.
pub struct FineTuning {
    classes: Classes,
    validation: Option<Arc<dyn Source>>,
}

impl Plan for FineTuning {
    type Settings = Settings;
    type Batch = Batch;
    type Task = ClassifyTask;

    fn default_recipe(_typed: &Table) -> (String, Option<&'static str>) {
        ("classify".to_owned(), None)
    }

    fn dry_run(name: &str, settings: &Settings) -> anyhow::Result<()> {
        dry_run::print(name, settings)
    }

    fn prepare(settings: &Settings) -> anyhow::Result<Prepared<Self>> {
        let common = &settings.common;
        let (sources, classes) = labelled(common)?;
        let steps_per_epoch = sources.steps_per_epoch(common)?;
        let params = Params::new(common.seed, &common.device.open()?).computing(common.compute);
        let classifier = classifier(settings, &classes, &params)?;
        let started = match common.start_from() {
            Some(path) => weights::load_encoder(path, &params, common)?,
            None => Started::default(),
        };
        let collate = Collate::new(settings, classes.len())?;
        let task = ClassifyTask::new(classifier, params, settings, &classes, steps_per_epoch)?;
        Ok(Prepared {
            batches: train_batches(&sources.train, common, &settings.training, collate)?,
            plan: Self { classes, validation: sources.validation.clone() },
            task,
            sources,
            started,
            steps_per_epoch,
        })
    }

    fn optimizer(settings: &Settings) -> OptimizerConfig {
        // PyTorch's own second beta, with which MAE fine-tunes.
        let weight_decay = settings.common.weight_decay;
        AdamWConfig { beta2: 0.999, weight_decay, ..AdamWConfig::default() }.into()
    }

    fn best() -> BestBy {
        BEST
    }

    fn chart(&self, _settings: &Settings) -> Chart {
        Chart { title: "Classifier", loss: "cross-entropy", validation: "validation" }
    }

    fn subject(&self, settings: &Settings, sources: &Sources) -> String {
        let grid = settings.common.encoder.grid;
        let from = if settings.common.init_weights.is_some() { "" } else { " from scratch" };
        format!(
            "a classifier, {}{from}, on {} of {} classes: L = {} ({}x{} patches)",
            settings.common.model,
            plural(sources.train.len() as u64, "image"),
            self.classes.len(),
            grid.len(),
            grid.rows(),
            grid.cols(),
        )
    }

    fn warnings(&self, settings: &Settings) -> Vec<String> {
        let needed = dry_run::memory(settings).ok();
        needed.and_then(|needed| too_large(needed, settings.common.device)).into_iter().collect()
    }

    fn watch<'a>(
        &'a self,
        watch: Watch<'a, ClassifyTask>,
        settings: &'a Settings,
        _config: &TrainConfig,
        collective: &Arc<dyn Collective>,
        _lead: Option<&Lead<'_>>,
    ) -> anyhow::Result<Watch<'a, ClassifyTask>> {
        let (images, transform) = (&self.validation, &settings.evaluation);
        Ok(validated(watch, images, transform, &settings.common, &self.classes, collective))
    }

    fn finish(
        &self,
        settings: &Settings,
        trainer: &Trainer<ClassifyTask>,
        folder: &RunFolder,
        terminal: &Terminal,
    ) -> anyhow::Result<()> {
        let progress = trainer.progress();
        let path = folder.path().join(CLASSIFIER);
        trainer.task().save(&path, progress.step, progress.loss)?;
        if let Some(ema) = trainer.ema() {
            let averaged = folder.path().join("classifier-ema.safetensors");
            let save = || trainer.task().save(&averaged, progress.step, progress.loss);
            ema.in_place_of_weights(save)??;
        }
        terminal.say(&format!("done: {}", plural(progress.step, "step")));
        if let Some(images) = &self.validation {
            let model = &trainer.task().classifier;
            let (transform, common) = (&settings.evaluation, &settings.common);
            let evaluation = Evaluation::of(model, images, transform, common, &self.classes)?;
            evaluation.conclude(trainer.best(), &self.classes, folder, terminal)?;
        }
        terminal.say(&contents(folder, self.validation.is_some()));
        Ok(())
    }
}

/// The images of a run, and the classes of those trained on; those validated on are counted alike.
pub fn labelled(common: &crate::run::Common) -> anyhow::Result<(Sources, Classes)> {
    let mut sources = Sources::open(common)?;
    let classes = Classes::of(sources.train.as_ref(), "the training data")?;
    if let Some(images) = &sources.validation {
        sources.validation = Some(classes.align(images, "the validation data")?);
    }
    Ok((sources, classes))
}

/// The model at its start.
pub fn classifier(
    settings: &Settings,
    classes: &Classes,
    params: &Params,
) -> anyhow::Result<Classifier> {
    let config = ClassifierConfig {
        vit: settings.common.encoder,
        classes: classes.len(),
        pool: settings.pool,
    };
    Ok(Classifier::new(config, params)?)
}

/// What is where.
fn contents(folder: &RunFolder, evaluated: bool) -> String {
    let averaged = folder.path().join("classifier-ema.safetensors").exists();
    let average = if averaged { "; classifier-ema.safetensors its average" } else { "" };
    let evaluation = if evaluated {
        "\n  evaluation.json         accuracy, of each class too; confusion.csv, predictions.jsonl"
    } else {
        ""
    };
    format!(
        "everything is in {}:\n  \
         classifier.safetensors  encoder and head{average}{evaluation}\n  \
         checkpoints/            model and optimiser\n  \
         loss.svg                the loss curve\n  \
         metrics.jsonl           every step; events.out.tfevents.* is the same for TensorBoard\n  \
         recipe.toml             every setting; log.txt what was said; changes.jsonl what changed on the way",
        folder.path().display()
    )
}
