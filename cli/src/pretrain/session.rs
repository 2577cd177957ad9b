//! One run, from its first batch to its encoder.

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::Context;
use candle_core::Device;
use longmae_mae::Mae;
use longmae_ops::Params;
use longmae_train::{
    Checkpoints, Collective, EventWriter, MetricsLog, Outcome, Schedule, TrainConfig, Trainer,
    Watch,
};

use super::batch::TrainBatches;
use super::changes::{Change, Changes};
use super::data::Sources;
use super::folder::{ENCODER, RunFolder, Start};
use super::info::Started;
use super::observer::{Events, PretrainObserver};
use super::pictures::{Drawing, Pictures};
use super::task::PretrainTask;
use super::validation::{self, Validation};
use super::words::Watched;
use super::{info, words};
use crate::ranks;
use crate::recipe;
use crate::settings::Settings;
use crate::signals;
use crate::terminal::{Terminal, plural};

/// Everything that a run needs and that can refuse it, made before its folder: a mistake leaves no half-started run.
pub struct Session<'a> {
    settings: &'a Settings,
    collective: Arc<dyn Collective>,
    sources: Sources,
    config: TrainConfig,
    task: PretrainTask,
    /// What became of the weights to start from.
    started: Started,
    batches: TrainBatches,
    /// Rank 0 alone draws.
    pictures: Option<Pictures>,
}

impl<'a> Session<'a> {
    /// Opens data and weights, builds the model and makes the first batch.
    pub fn prepare(
        settings: &'a Settings,
        collective: Arc<dyn Collective>,
    ) -> anyhow::Result<Self> {
        let own = Self::prepare_here(settings, collective.clone());
        let session = ranks::agree(collective.as_ref(), own)?;
        ranks::same_recipe(collective.as_ref(), &session.config.recipe)?;
        Ok(session)
    }

    fn prepare_here(
        settings: &'a Settings,
        collective: Arc<dyn Collective>,
    ) -> anyhow::Result<Self> {
        let sources = Sources::open(settings)?;
        let config = train_config(settings, sources.steps_per_epoch(settings)?)?;
        let params = Params::new(settings.seed, &Device::Cpu).computing(settings.compute);
        let mae = Mae::new(settings.mae, &params)?;
        let started = match &settings.flags.init_weights {
            Some(weights) => info::load_weights(Path::new(weights), &params, settings)?,
            None => Started::default(),
        };
        let pictures = (settings.rank == 0).then(|| Pictures::new(sources.shown(), settings));
        Ok(Self {
            settings,
            collective,
            batches: TrainBatches::open(&sources, settings)?,
            pictures: pictures.transpose()?,
            task: PretrainTask::new(mae, params, settings, config.steps_per_epoch),
            started,
            sources,
            config,
        })
    }

    /// Trains in a new folder, or goes on in that of a run; `program` is how the user calls it, for messages. Rank 0
    /// alone has the folder and the terminal.
    pub fn run(self, start: Start, program: &str) -> anyhow::Result<()> {
        match self.settings.rank {
            0 => self.lead(start, program),
            _ => self.follow(),
        }
    }

    fn lead(self, start: Start, program: &str) -> anyhow::Result<()> {
        let Self { settings, collective, sources, config, task, started, mut batches, pictures } =
            self;
        let desk = Desk::open(settings, &sources, &config, task, start, &mut batches);
        let (trainer, mut desk) = ranks::agree(collective.as_ref(), desk)?;
        let mut trainer = trainer.among(collective.clone());
        trainer.synchronize(&mut batches)?;
        if trainer.progress().step == 0 {
            words::started(&desk.terminal, settings, &started);
        }
        if trainer.progress().step >= config.total_steps {
            return finish(&trainer, &desk.folder, &desk.terminal);
        }
        let drawing = pictures.map(|pictures| {
            Drawing::new(pictures, &desk.folder, desk.events.clone(), &config, settings)
        });
        let stop = stop_flag(Some(&desk.terminal))?;
        let watch = Watch::new(&mut desk.metrics).observer(desk.observer);
        let watch = validated(watch, &sources, settings, &collective);
        let mut watch = drawing.into_iter().fold(watch, Watch::hook);
        let outcome = trainer.run(&mut batches, &mut watch, &stop);
        drop(watch);
        desk.terminal.close();
        let resume = format!("{program} --resume {}", desk.folder.path().display());
        let outcome = outcome.with_context(|| {
            format!("the run ended early (its last checkpoint can be resumed: {resume})")
        })?;
        tell_losses(&trainer, &batches, &desk.terminal);
        if outcome == Outcome::Finished {
            return finish(&trainer, &desk.folder, &desk.terminal);
        }
        let step = trainer.progress().step;
        desk.terminal.say(&format!("stopped after step {step}; go on with: {resume}"));
        Ok(())
    }

    /// What ranks other than 0 do: the same steps, without a folder and without words.
    fn follow(self) -> anyhow::Result<()> {
        let Self { settings, collective, sources, config, task, mut batches, .. } = self;
        Terminal::warnings_alone();
        let total_steps = config.total_steps;
        let trainer = Trainer::new(task, config, "").map_err(Into::into);
        let trainer = ranks::agree(collective.as_ref(), trainer)?;
        let mut trainer = trainer.among(collective.clone());
        trainer.synchronize(&mut batches)?;
        if trainer.progress().step >= total_steps {
            return Ok(());
        }
        let mut metrics = MetricsLog::nowhere();
        let mut watch = validated(Watch::new(&mut metrics), &sources, settings, &collective);
        trainer.run(&mut batches, &mut watch, &*stop_flag(None)?)?;
        Ok(())
    }
}

/// With validation, where there are images for it.
fn validated<'a>(
    watch: Watch<'a, PretrainTask>,
    sources: &Sources,
    settings: &Settings,
    collective: &Arc<dyn Collective>,
) -> Watch<'a, PretrainTask> {
    match &sources.validation {
        Some(images) => watch.hook(Validation::new(images.clone(), settings, collective.clone())),
        None => watch,
    }
}

/// What rank 0 has beside the others: the run's folder, and the terminal.
struct Desk {
    folder: RunFolder,
    terminal: Terminal,
    metrics: MetricsLog,
    events: Events,
    observer: PretrainObserver,
}

impl Desk {
    /// Opens the folder, and goes back to its newest checkpoint if it has one.
    fn open(
        settings: &Settings,
        sources: &Sources,
        config: &TrainConfig,
        task: PretrainTask,
        start: Start,
        batches: &mut TrainBatches,
    ) -> anyhow::Result<(Trainer<PretrainTask>, Self)> {
        let (folder, changes) = start.open(&config.recipe)?;
        let terminal = Terminal::start(&folder.log_path(), settings.log_every)?;
        let mut trainer = Trainer::new(task, config.clone(), folder.checkpoints())?;
        let changes = match changes {
            Some(changes) => restore(&mut trainer, &folder, batches, &changes, &config.recipe)?,
            None => Vec::new(),
        };
        let changes: Vec<String> = changes.iter().map(ToString::to_string).collect();
        let progress = trainer.progress();
        let watched = Watched { settings, sources, folder: &folder, config, done: progress.step };
        words::begin(&terminal, &watched, &changes, batches.early_corrupt());
        let metrics = MetricsLog::open(&folder.metrics_path(), &progress, &changes)?;
        let events = Rc::new(RefCell::new(EventWriter::resume(folder.path(), progress.step)?));
        let bar = terminal.bar(progress.step, config.total_steps);
        let norm_pix = settings.mae.norm_pix_loss;
        let observer = PretrainObserver::new(bar, events.clone(), &folder, norm_pix)?;
        Ok((trainer, Self { folder, terminal, metrics, events, observer }))
    }
}

/// Goes back to the newest checkpoint, if the run had come to one, and makes what was allowed to change the run's own.
fn restore(
    trainer: &mut Trainer<PretrainTask>,
    folder: &RunFolder,
    batches: &mut TrainBatches,
    changes: &Changes,
    recipe: &str,
) -> anyhow::Result<Vec<Change>> {
    let history = folder.history()?;
    let checkpoint = folder.latest_checkpoint()?;
    let changes = match checkpoint {
        None => changes.made().to_vec(),
        Some(checkpoint) => changes
            .since(&checkpoint.state().recipe, &history)
            .and_then(|changes| Ok(trainer.restore(&checkpoint, batches).map(|()| changes)?))
            .with_context(|| format!("cannot resume from {}", checkpoint.path().display()))?,
    };
    if !changes.is_empty() {
        folder.change(history, trainer.progress().step, &changes, recipe)?;
    }
    Ok(changes)
}

/// How the engine is to train, once the length of an epoch is known.
pub fn train_config(settings: &Settings, steps_per_epoch: u64) -> anyhow::Result<TrainConfig> {
    let total_steps = settings.total_steps(steps_per_epoch);
    let epochs = total_steps as f64 / steps_per_epoch as f64;
    Ok(TrainConfig {
        total_steps,
        steps_per_epoch,
        accum_iter: settings.batching.accum_iter,
        schedule: Schedule {
            lr: settings.lr,
            min_lr: settings.min_lr,
            warmup_epochs: settings.warmup_epochs.unwrap_or(epochs / 20.0),
            epochs,
        },
        optimizer: settings.adamw.into(),
        clip_grad: settings.clip_grad,
        ema: settings.ema,
        rollback: settings.rollback,
        save_every: settings.save_every,
        keep: settings.keep,
        best: settings.keep_best.then_some(validation::BEST),
        recipe: recipe::to_table(&settings.flags)?.to_string(),
    })
}

fn stop_flag(terminal: Option<&Terminal>) -> anyhow::Result<Arc<AtomicBool>> {
    let terminal = terminal.cloned();
    signals::stop_flag(move || {
        if let Some(terminal) = &terminal {
            terminal.say("finishing this step, then saving (once more to stop at once)");
        }
    })
}

/// Says what was left out of the run: corrupt images, steps without an update.
fn tell_losses(trainer: &Trainer<PretrainTask>, batches: &TrainBatches, terminal: &Terminal) {
    let corrupt = batches.corrupt().len() as u64;
    if corrupt > 0 {
        let images = plural(corrupt, "image");
        terminal.say(&format!("{images} skipped as corrupt; log.txt names them"));
    }
    if trainer.skipped() > 0 {
        let steps = plural(trainer.skipped(), "step");
        terminal
            .say(&format!("{steps} skipped: loss or gradient was not finite (see metrics.jsonl)"));
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
    terminal.say(&folder.contents());
    terminal.say(&words::next_steps(&encoder));
    Ok(())
}
