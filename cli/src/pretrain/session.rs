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
    Checkpoints, EventWriter, MetricsLog, Outcome, Schedule, TrainConfig, Trainer, Watch,
};

use super::batch::TrainBatches;
use super::changes::{Change, Changes};
use super::data::Sources;
use super::folder::{RunFolder, Start};
use super::observer::{Events, PretrainObserver};
use super::pictures::{Drawing, Pictures};
use super::task::PretrainTask;
use super::validation::{self, Validation};
use super::words::Watched;
use super::{info, words};
use crate::recipe;
use crate::settings::Settings;
use crate::signals;
use crate::terminal::{Terminal, plural};

/// Everything that a run needs and that can refuse it, made before its folder: a mistake leaves no half-started run.
pub struct Session<'a> {
    settings: &'a Settings,
    sources: Sources,
    config: TrainConfig,
    task: PretrainTask,
    batches: TrainBatches,
    pictures: Pictures,
}

impl<'a> Session<'a> {
    /// Opens data and weights, builds the model and makes the first batch.
    pub fn prepare(settings: &'a Settings) -> anyhow::Result<Self> {
        let sources = Sources::open(settings)?;
        let config = train_config(settings, sources.steps_per_epoch(settings)?)?;
        let params = Params::new(settings.seed, &Device::Cpu).computing(settings.compute);
        let mae = Mae::new(settings.mae, &params)?;
        if let Some(weights) = &settings.flags.init_weights {
            info::load_weights(Path::new(weights), &params, settings)?;
        }
        Ok(Self {
            settings,
            batches: TrainBatches::open(&sources, settings)?,
            pictures: Pictures::new(sources.shown(), settings)?,
            task: PretrainTask::new(mae, params, settings, config.steps_per_epoch),
            sources,
            config,
        })
    }

    /// Trains in a new folder, or goes on in that of a run; `program` is how the user calls it, for messages.
    pub fn run(self, start: Start, program: &str) -> anyhow::Result<()> {
        let Self { settings, sources, config, task, mut batches, pictures } = self;
        let (folder, changes) = start.open(&config.recipe)?;
        let terminal = Terminal::start(&folder.log_path(), settings.log_every)?;
        let mut trainer = Trainer::new(task, config.clone(), folder.checkpoints())?;
        if let Some(changes) = changes {
            for change in restore(&mut trainer, &folder, &mut batches, &changes, &config.recipe)? {
                terminal.say(&format!("changed from here on: {change}"));
            }
        }
        let done = trainer.progress().step;
        let watched =
            Watched { settings, sources: &sources, folder: &folder, config: &config, done };
        if done >= config.total_steps {
            let path = folder.path().display();
            terminal.say(&format!("{path} is finished: {} done", plural(done, "step")));
            return finish(&trainer, &folder, &terminal);
        }
        terminal.say(&words::greeting(&watched));
        for warning in words::warnings(settings, &config, batches.early_corrupt()) {
            tracing::warn!("{warning}");
        }
        let mut metrics = MetricsLog::open(&folder.metrics_path(), &trainer.progress(), &[])?;
        let stop = stop_flag(&terminal)?;
        let bar = terminal.bar(done, config.total_steps);
        let events: Events = Rc::new(RefCell::new(EventWriter::create(folder.path())?));
        let norm_pix = settings.mae.norm_pix_loss;
        let observer = PretrainObserver::new(bar.clone(), events.clone(), &folder, norm_pix)?;
        let drawing = Drawing::new(pictures, &folder, events, &config, settings);
        let mut watch = Watch::new(&mut metrics).observer(observer);
        if let Some(held_out) = &sources.validation {
            watch = watch.hook(Validation::new(held_out.clone(), settings));
        }
        let outcome = trainer.run(&mut batches, &mut watch.hook(drawing), &stop);
        bar.close();
        let resume = format!("{program} --resume {}", folder.path().display());
        let outcome = outcome.with_context(|| {
            format!("the run ended early (its last checkpoint can be resumed: {resume})")
        })?;
        tell_losses(&trainer, &batches, &terminal);
        if outcome == Outcome::Finished {
            return finish(&trainer, &folder, &terminal);
        }
        terminal
            .say(&format!("stopped after step {}; go on with: {resume}", trainer.progress().step));
        Ok(())
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
    let whole = (settings.epochs * steps_per_epoch as f64).round().max(1.0) as u64;
    let total_steps = settings.max_steps.map_or(whole, |max| max.min(whole));
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
        adamw: settings.adamw,
        clip_grad: settings.clip_grad,
        ema: settings.ema,
        rollback: settings.rollback,
        save_every: settings.save_every,
        keep: settings.keep,
        best: settings.keep_best.then_some(validation::BEST),
        recipe: recipe::to_table(&settings.flags)?.to_string(),
    })
}

fn stop_flag(terminal: &Terminal) -> anyhow::Result<Arc<AtomicBool>> {
    let terminal = terminal.clone();
    signals::stop_flag(move || {
        terminal.say("finishing this step, then saving (once more to stop at once)");
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
    let encoder = folder.path().join("encoder.safetensors");
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
