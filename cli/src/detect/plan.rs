//! A detector's training as a kind of run.

use std::sync::Arc;

use longmae_finetune::detect::Detector;
use longmae_ops::Params;
use longmae_train::{
    AdamWConfig, Alone, BestBy, Collective, Decay, OptimizerConfig, TrainConfig, Trainer, Watch,
};
use toml::Table;

use super::batch::{Batch, train_batches};
use super::categories::Categories;
use super::dry_run;
use super::evaluate::Sought;
use super::figures::Truth;
use super::images::Images;
use super::results;
use super::settings::Settings;
use super::task::DetectTask;
use super::validation::{BEST, Validation};
use crate::run::{Chart, DETECTOR, Lead, Plan, Prepared, RunFolder, Sources, Started, weights};
use crate::terminal::{Terminal, plural};

/// A detector's run, opened.
pub struct Detecting {
    categories: Categories,
    validation: Option<(Sought, Truth)>,
}

impl Plan for Detecting {
    type Settings = Settings;
    type Batch = Batch;
    type Task = DetectTask;

    fn default_recipe(_typed: &Table) -> (String, Option<&'static str>) {
        ("detect".to_owned(), None)
    }

    fn dry_run(name: &str, settings: &Settings) -> anyhow::Result<()> {
        dry_run::print(name, settings)
    }

    fn prepare(settings: &Settings) -> anyhow::Result<Prepared<Self>> {
        let common = &settings.common;
        let images = Images::open(settings)?;
        let (sources, categories) = (images.sources(), images.categories);
        let validation = match images.validation {
            Some(images) => Some(validation(settings, &categories, images)?),
            None => None,
        };
        let steps_per_epoch = sources.steps_per_epoch(common)?;
        let params = Params::new(common.seed, &common.device.open()?).computing(common.compute);
        let detector = Detector::new(settings.architecture.config(categories.len()), &params)?;
        let started = match common.start_from() {
            Some(path) => {
                let pretrained = settings.architecture.pretrained();
                weights::load_detector(path, &params, common, pretrained.grid)?
            }
            None => Started::default(),
        };
        let task = DetectTask::new(detector, params, settings, &categories, steps_per_epoch)?;
        Ok(Prepared {
            batches: train_batches(&sources.train, settings)?,
            plan: Self { categories, validation },
            task,
            sources,
            started,
            steps_per_epoch,
        })
    }

    fn optimizer(settings: &Settings) -> OptimizerConfig {
        let weight_decay = settings.common.weight_decay;
        AdamWConfig { beta2: 0.999, weight_decay, ..AdamWConfig::default() }.into()
    }

    fn decay(settings: &Settings) -> Decay {
        settings.decay
    }

    fn best() -> BestBy {
        BEST
    }

    fn chart(&self, _settings: &Settings) -> Chart {
        Chart { title: "Detector", loss: "sum of losses", validation: "validation" }
    }

    fn subject(&self, settings: &Settings, sources: &Sources) -> String {
        let grid = settings.common.encoder.grid;
        let from = if settings.common.init_weights.is_some() { "" } else { " from scratch" };
        format!(
            "{}, {}{from}, on {} with objects of {}: L = {} ({}x{} patches)",
            settings.architecture.name(),
            settings.common.model,
            plural(sources.train.len() as u64, "image"),
            plural_categories(self.categories.len()),
            grid.len(),
            grid.rows(),
            grid.cols(),
        )
    }

    fn warnings(&self, _settings: &Settings) -> Vec<String> {
        Vec::new()
    }

    fn watch<'a>(
        &'a self,
        watch: Watch<'a, DetectTask>,
        settings: &'a Settings,
        _config: &TrainConfig,
        collective: &Arc<dyn Collective>,
        _lead: Option<&Lead<'_>>,
    ) -> anyhow::Result<Watch<'a, DetectTask>> {
        let Some((sought, truth)) = &self.validation else { return Ok(watch) };
        let collective = collective.clone();
        Ok(watch.hook(Validation { sought, truth, settings, collective }))
    }

    fn finish(
        &self,
        settings: &Settings,
        trainer: &Trainer<DetectTask>,
        folder: &RunFolder,
        terminal: &Terminal,
    ) -> anyhow::Result<()> {
        let progress = trainer.progress();
        let path = folder.path().join(DETECTOR);
        trainer.task().save(&path, progress.step, progress.loss)?;
        if let Some(ema) = trainer.ema() {
            let averaged = folder.path().join("detector-ema.safetensors");
            let save = || trainer.task().save(&averaged, progress.step, progress.loss);
            ema.in_place_of_weights(save)??;
        }
        terminal.say(&format!("done: {}", plural(progress.step, "step")));
        if let Some((sought, truth)) = &self.validation {
            let mut alone = settings.common.clone();
            (alone.batching.ranks, alone.rank) = (1, 0);
            let detector = &trainer.task().detector;
            let found = sought.all(detector, &settings.evaluation, &alone, &Alone)?;
            let figures = truth.score(&found)?;
            results::write(folder.path(), &figures, &found)?;
            terminal.say(&figures.line());
        }
        terminal.say(&contents(folder, self.validation.is_some()));
        Ok(())
    }
}

/// `1 category`, `80 categories`.
pub fn plural_categories(count: usize) -> String {
    if count == 1 { "1 category".to_owned() } else { format!("{count} categories") }
}

fn validation(
    settings: &Settings,
    categories: &Categories,
    images: Arc<longmae_data::Coco>,
) -> anyhow::Result<(Sought, Truth)> {
    let ids = categories.ids_in(&images, "the validation data")?;
    let truth = Truth::new(&images, settings.architecture.masks())?;
    Ok((Sought { images, ids }, truth))
}

/// What is where.
fn contents(folder: &RunFolder, evaluated: bool) -> String {
    let averaged = folder.path().join("detector-ema.safetensors").exists();
    let average = if averaged { "; detector-ema.safetensors its average" } else { "" };
    let evaluation = if evaluated {
        "\n  evaluation.json         COCO's figures, of each category too; results.json what was found"
    } else {
        ""
    };
    format!(
        "everything is in {}:\n  \
         detector.safetensors    the detector, with detectron2's names{average}{evaluation}\n  \
         checkpoints/            model and optimiser\n  \
         loss.svg                the loss curve\n  \
         metrics.jsonl           every step; events.out.tfevents.* is the same for TensorBoard\n  \
         recipe.toml             every setting; log.txt what was said; changes.jsonl what changed on the way",
        folder.path().display()
    )
}
