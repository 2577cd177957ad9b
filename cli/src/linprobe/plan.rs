//! Training a linear probe as a kind of run.

use std::sync::Arc;

use longmae_data::Source;
use longmae_train::{BestBy, Collective, LarsConfig, OptimizerConfig, TrainConfig, Trainer, Watch};
use toml::Table;

use super::dry_run;
use super::model::Probed;
use super::settings::Settings;
use super::task::ProbeTask;
use crate::classify::{BEST, Batch, Collate, Evaluation, labelled, train_batches, validated};
use crate::exit::usage;
use crate::labels::Classes;
use crate::run::{Chart, Lead, PROBE, Plan, Prepared, RunFolder, Sources};
use crate::terminal::{Terminal, plural};

/// A probe's run, opened.
pub struct Probing {
    classes: Classes,
    validation: Option<Arc<dyn Source>>,
}

impl Plan for Probing {
    type Settings = Settings;
    type Batch = Batch;
    type Task = ProbeTask;

    fn default_recipe(_typed: &Table) -> (String, Option<&'static str>) {
        ("linprobe".to_owned(), None)
    }

    fn dry_run(name: &str, settings: &Settings) -> anyhow::Result<()> {
        dry_run::print(name, settings)
    }

    fn prepare(settings: &Settings) -> anyhow::Result<Prepared<Self>> {
        let common = &settings.common;
        if common.batching.batch_size < 2 {
            return Err(usage(
                "batch_size 1: a probe normalises over a batch, which takes two images at least",
            ));
        }
        let (sources, classes) = labelled(common)?;
        let steps_per_epoch = sources.steps_per_epoch(common)?;
        let (model, started) = Probed::open(settings, classes.len())?;
        let collate = Collate::plain(classes.len())?;
        Ok(Prepared {
            batches: train_batches(&sources.train, common, &settings.training, collate)?,
            task: ProbeTask::new(model, settings, &classes, steps_per_epoch)?,
            plan: Self { classes, validation: sources.validation.clone() },
            sources,
            started,
            steps_per_epoch,
        })
    }

    fn optimizer(settings: &Settings) -> OptimizerConfig {
        LarsConfig { weight_decay: settings.common.weight_decay, ..LarsConfig::default() }.into()
    }

    fn best() -> BestBy {
        BEST
    }

    fn chart(&self, _settings: &Settings) -> Chart {
        Chart { title: "Linear probe", loss: "cross-entropy", validation: "validation" }
    }

    fn subject(&self, settings: &Settings, sources: &Sources) -> String {
        let from =
            settings.common.init_weights.as_deref().unwrap_or("an encoder that was never trained");
        format!(
            "a linear probe of {from} ({}, {} token), on {} of {} classes",
            settings.common.model,
            settings.pool,
            plural(sources.train.len() as u64, "image"),
            self.classes.len(),
        )
    }

    fn warnings(&self, _settings: &Settings) -> Vec<String> {
        Vec::new()
    }

    fn watch<'a>(
        &'a self,
        watch: Watch<'a, ProbeTask>,
        settings: &'a Settings,
        _config: &TrainConfig,
        collective: &Arc<dyn Collective>,
        _lead: Option<&Lead<'_>>,
    ) -> anyhow::Result<Watch<'a, ProbeTask>> {
        let (images, transform) = (&self.validation, &settings.evaluation);
        Ok(validated(watch, images, transform, &settings.common, &self.classes, collective))
    }

    fn finish(
        &self,
        settings: &Settings,
        trainer: &Trainer<ProbeTask>,
        folder: &RunFolder,
        terminal: &Terminal,
    ) -> anyhow::Result<()> {
        let progress = trainer.progress();
        trainer.task().save(&folder.path().join(PROBE), progress.step, progress.loss)?;
        terminal.say(&format!("done: {}", plural(progress.step, "step")));
        if let Some(images) = &self.validation {
            let model = &trainer.task().model;
            let (transform, common) = (&settings.evaluation, &settings.common);
            let evaluation = Evaluation::of(model, images, transform, common, &self.classes)?;
            evaluation.conclude(trainer.best(), &self.classes, folder, terminal)?;
        }
        let path = folder.path().display();
        let evaluated = match self.validation.is_some() {
            true => ", evaluation.json, predictions.jsonl, confusion.csv",
            false => "",
        };
        terminal.say(&format!(
            "everything is in {path}: {PROBE} (encoder and probe){evaluated}, loss.svg, metrics.jsonl, checkpoints/, \
             recipe.toml"
        ));
        Ok(())
    }
}
