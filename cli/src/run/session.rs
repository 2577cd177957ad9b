//! One run, from its first batch to its end.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::Context;
use longmae_train::{
    Collective, EventWriter, MetricsLog, Outcome, Schedule, TrainConfig, Trainer, Watch,
};

use super::RunBatches;
use super::changes::{Change, Changes};
use super::folder::{RunFolder, Start};
use super::observer::{Events, RunObserver};
use super::plan::{Lead, Plan, Prepared};
use super::settings::RunSettings;
use super::words;
use crate::ranks;
use crate::recipe;
use crate::signals;
use crate::terminal::{Terminal, plural};

/// Everything that a run needs and that can refuse it, made before its folder: a mistake leaves no half-started run.
pub struct Session<P: Plan> {
    settings: P::Settings,
    collective: Arc<dyn Collective>,
    config: TrainConfig,
    prepared: Prepared<P>,
}

impl<P: Plan> Session<P> {
    /// Opens data and weights, builds the model and makes the first batch.
    pub fn prepare(settings: P::Settings, collective: Arc<dyn Collective>) -> anyhow::Result<Self> {
        let own = P::prepare(&settings).and_then(|prepared| {
            let config = train_config::<P>(&settings, prepared.steps_per_epoch)?;
            Ok(Self { settings, collective: collective.clone(), config, prepared })
        });
        let session = ranks::agree(collective.as_ref(), own)?;
        ranks::same_recipe(collective.as_ref(), &session.config.recipe)?;
        Ok(session)
    }

    /// Trains in a new folder, or goes on in that of a run; `program` is how the user calls it, for messages. Rank 0
    /// alone has the folder and the terminal.
    pub fn run(self, start: Start<P::Settings>, program: &str) -> anyhow::Result<()> {
        match self.settings.common().rank {
            0 => self.lead(start, program),
            _ => self.follow(),
        }
    }

    fn lead(self, start: Start<P::Settings>, program: &str) -> anyhow::Result<()> {
        let Self { settings, collective, config, prepared } = self;
        let opened = Desk::open(&settings, &config, prepared, start);
        let (trainer, mut desk) = ranks::agree(collective.as_ref(), opened)?;
        let summing = ranks::summing(&collective, trainer.task());
        let mut trainer = trainer.among(ranks::agree(collective.as_ref(), summing)?);
        trainer.synchronize(&mut desk.batches)?;
        if trainer.progress().step == 0 {
            words::started(&desk.terminal, settings.common(), &desk.started);
        }
        if trainer.progress().step >= config.total_steps {
            return desk.plan.finish(&settings, &trainer, &desk.folder, &desk.terminal);
        }
        let stop = stop_flag(Some(&desk.terminal))?;
        let watch = Watch::new(&mut desk.metrics).observer(desk.observer);
        let lead = Lead { folder: &desk.folder, events: &desk.events };
        let mut watch = desk.plan.watch(watch, &settings, &config, &collective, Some(&lead))?;
        let outcome = trainer.run(&mut desk.batches, &mut watch, &stop);
        drop(watch);
        desk.terminal.close();
        let resume = format!("{program} --resume {}", desk.folder.path().display());
        let outcome = outcome.with_context(|| {
            format!("the run ended early (its last checkpoint can be resumed: {resume})")
        })?;
        tell_losses(trainer.skipped(), desk.batches.corrupt().len() as u64, &desk.terminal);
        if outcome == Outcome::Finished {
            return desk.plan.finish(&settings, &trainer, &desk.folder, &desk.terminal);
        }
        let step = trainer.progress().step;
        desk.terminal.say(&format!("stopped after step {step}; go on with: {resume}"));
        Ok(())
    }

    /// What ranks other than 0 do: the same steps, without a folder and without words.
    fn follow(self) -> anyhow::Result<()> {
        let Self { settings, collective, config, prepared } = self;
        let Prepared { plan, task, mut batches, .. } = prepared;
        Terminal::warnings_alone();
        let trainer = Trainer::new(task, config.clone(), "").map_err(Into::into);
        let trainer = ranks::agree(collective.as_ref(), trainer)?;
        let summing = ranks::summing(&collective, trainer.task());
        let mut trainer = trainer.among(ranks::agree(collective.as_ref(), summing)?);
        trainer.synchronize(&mut batches)?;
        if trainer.progress().step >= config.total_steps {
            return Ok(());
        }
        let mut metrics = MetricsLog::nowhere();
        let watch = Watch::new(&mut metrics);
        let mut watch = plan.watch(watch, &settings, &config, &collective, None)?;
        trainer.run(&mut batches, &mut watch, &*stop_flag(None)?)?;
        Ok(())
    }
}

/// What rank 0 has beside the trainer: the run's folder, the terminal, and what was prepared.
struct Desk<P: Plan> {
    plan: P,
    batches: RunBatches<P::Batch>,
    started: words::Started,
    folder: RunFolder,
    terminal: Terminal,
    metrics: MetricsLog,
    events: Events,
    observer: RunObserver,
}

impl<P: Plan> Desk<P> {
    /// Opens the folder, and goes back to its newest checkpoint if it has one.
    fn open(
        settings: &P::Settings,
        config: &TrainConfig,
        prepared: Prepared<P>,
        start: Start<P::Settings>,
    ) -> anyhow::Result<(Trainer<P::Task>, Self)> {
        let Prepared { plan, sources, task, mut batches, started, .. } = prepared;
        let (folder, changes) = start.open(&config.recipe)?;
        let terminal = Terminal::start(&folder.log_path(), settings.common().log_every)?;
        let mut trainer = Trainer::new(task, config.clone(), folder.checkpoints())?;
        let changes = match changes {
            Some(changes) => {
                restore::<P>(&mut trainer, &folder, &mut batches, &changes, &config.recipe)?
            }
            None => Vec::new(),
        };
        let changes: Vec<String> = changes.iter().map(ToString::to_string).collect();
        let progress = trainer.progress();
        let begun = words::Begun {
            common: settings.common(),
            config,
            folder: &folder,
            subject: plan.subject(settings, &sources),
            warnings: plan.warnings(settings),
            done: progress.step,
        };
        words::begin(&terminal, begun, &changes, batches.early_corrupt());
        let metrics = MetricsLog::open(&folder.metrics_path(), &progress, &changes)?;
        let events = Rc::new(RefCell::new(EventWriter::resume(folder.path(), progress.step)?));
        let bar = terminal.bar(progress.step, config.total_steps);
        let observer = RunObserver::new(bar, events.clone(), &folder, plan.chart(settings))?;
        let desk = Self { plan, batches, started, folder, terminal, metrics, events, observer };
        Ok((trainer, desk))
    }
}

/// Goes back to the newest checkpoint, if the run had come to one, and makes what was allowed to change the run's own.
fn restore<P: Plan>(
    trainer: &mut Trainer<P::Task>,
    folder: &RunFolder,
    batches: &mut RunBatches<P::Batch>,
    changes: &Changes,
    recipe: &str,
) -> anyhow::Result<Vec<Change>> {
    let history = folder.history()?;
    let checkpoint = folder.latest_checkpoint()?;
    let changes = match checkpoint {
        None => changes.made().to_vec(),
        Some(checkpoint) => changes
            .since::<P::Settings>(&checkpoint.state().recipe, &history)
            .and_then(|changes| Ok(trainer.restore(&checkpoint, batches).map(|()| changes)?))
            .with_context(|| format!("cannot resume from {}", checkpoint.path().display()))?,
    };
    if !changes.is_empty() {
        folder.change(history, trainer.progress().step, &changes, recipe)?;
    }
    Ok(changes)
}

/// How the engine is to train, once the length of an epoch is known.
pub fn train_config<P: Plan>(
    settings: &P::Settings,
    steps_per_epoch: u64,
) -> anyhow::Result<TrainConfig> {
    let common = settings.common();
    let total_steps = common.total_steps(steps_per_epoch);
    let epochs = total_steps as f64 / steps_per_epoch as f64;
    Ok(TrainConfig {
        total_steps,
        steps_per_epoch,
        accum_iter: common.batching.accum_iter,
        schedule: Schedule {
            lr: common.lr,
            min_lr: common.min_lr,
            warmup_epochs: common.warmup_epochs.unwrap_or(epochs / 20.0),
            epochs,
            decay: P::decay(settings),
        },
        optimizer: P::optimizer(settings),
        clip_grad: common.clip_grad,
        ema: common.ema,
        rollback: common.rollback,
        save_every: common.save_every,
        keep: common.keep,
        best: common.keep_best.then(P::best),
        recipe: recipe::to_table(settings.flags())?.to_string(),
    })
}

fn stop_flag(terminal: Option<&Terminal>) -> anyhow::Result<Arc<AtomicBool>> {
    let terminal = terminal.cloned();
    signals::stop_flag(move || {
        if let Some(terminal) = &terminal {
            terminal.say("finishing this step, or the evaluation that follows it, then saving (once more to stop at once)");
        }
    })
}

/// Says what was left out of the run: corrupt images, steps without an update.
fn tell_losses(skipped: u64, corrupt: u64, terminal: &Terminal) {
    if corrupt > 0 {
        let images = plural(corrupt, "image");
        terminal.say(&format!("{images} skipped as corrupt; log.txt names them"));
    }
    if skipped > 0 {
        let steps = plural(skipped, "step");
        terminal
            .say(&format!("{steps} skipped: loss or gradient was not finite (see metrics.jsonl)"));
    }
}
