use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crate::ranks::Ranks;
use crate::saving::Saving;
use crate::{
    Alone, Batches, Best, BestBy, Checkpoints, Collective, Ema, Error, EvalRecord, Hook, Optimizer,
    Result, SpikeDetector, Status, Task, TrainConfig, Watch,
};

/// Skipped steps in a row that end a run.
const MOST_SKIPPED: usize = 10;

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progress {
    /// Optimiser steps done.
    pub step: u64,
    /// Epochs done, with their fraction.
    pub epoch: f64,
    /// Mean loss of the last step, if one was done.
    pub loss: Option<f64>,
    /// Seconds of training so far, over all sessions.
    pub seconds: f64,
    /// Whether the task holds the averaged weights just now.
    pub averaged: bool,
}

/// How a call of [`Trainer::run`] ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// All steps are done.
    Finished,
    /// The stop flag was raised; a checkpoint holds what was done.
    Stopped,
}

/// Optimises a task and keeps its checkpoints.
pub struct Trainer<T> {
    pub(crate) task: T,
    pub(crate) config: TrainConfig,
    pub(crate) optimizer: Optimizer,
    pub(crate) ema: Option<Ema>,
    pub(crate) spikes: Option<SpikeDetector>,
    pub(crate) checkpoints: Checkpoints,
    pub(crate) counters: Counters,
    pub(crate) ranks: Arc<Ranks>,
    /// The checkpoint that is being written.
    pub(crate) saving: Option<Saving>,
    /// Step and time of the last one that was begun.
    pub(crate) last_save: (u64, Instant),
    /// Samples of the last skipped step.
    pub(crate) bad_samples: Vec<String>,
}

/// What a run counts; all of it is in its checkpoints.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counters {
    pub step: u64,
    pub loss: Option<f64>,
    pub seconds: f64,
    pub skipped: u64,
    pub skipped_in_row: usize,
    pub rollbacks: u32,
    pub rollback_to: Option<u64>,
    pub best: Option<Best>,
}

impl<T: Task> Trainer<T> {
    /// A run at its start, with checkpoints in `checkpoints`.
    ///
    /// # Errors
    /// When the task lists a parameter twice, or a number of the configuration makes no sense.
    pub fn new(task: T, config: TrainConfig, checkpoints: impl AsRef<Path>) -> Result<Self> {
        config.check()?;
        let optimizer = Optimizer::new(task.parameters(), config.optimizer)?;
        let ema = config.ema.map(|decay| Ema::new(optimizer.parameters(), decay)).transpose()?;
        let ranks = Ranks::new(Arc::new(Alone), optimizer.parameters());
        Ok(Self {
            task,
            optimizer,
            ema,
            spikes: config.rollback.map(SpikeDetector::new),
            config,
            checkpoints: Checkpoints::new(checkpoints.as_ref()),
            counters: Counters::default(),
            ranks: Arc::new(ranks),
            saving: None,
            last_save: (0, Instant::now()),
            bad_samples: Vec::new(),
        })
    }

    /// Among the ranks that train together: each runs the same steps on its own batches, rank 0 alone writes
    /// checkpoints. [`Trainer::synchronize`] comes before the first step.
    #[must_use]
    pub fn among(mut self, collective: Arc<dyn Collective>) -> Self {
        self.ranks = Arc::new(Ranks::new(collective, self.optimizer.parameters()));
        self
    }

    /// The task.
    pub fn task(&self) -> &T {
        &self.task
    }

    /// The averaged weights, if the run keeps them.
    pub fn ema(&self) -> Option<&Ema> {
        self.ema.as_ref()
    }

    /// Steps of the run that were skipped, because loss or gradient was not finite.
    pub fn skipped(&self) -> u64 {
        self.counters.skipped
    }

    /// The best checkpoint so far, where the configuration says what is best.
    pub fn best(&self) -> Option<Best> {
        self.counters.best
    }

    /// Where the run stands.
    pub fn progress(&self) -> Progress {
        let Counters { step, loss, seconds, .. } = self.counters;
        let epoch = step as f64 / self.config.steps_per_epoch as f64;
        Progress { step, epoch, loss, seconds, averaged: false }
    }

    /// Trains until all steps are done or `stop` is raised, on any rank; a raised flag ends the run after its step.
    ///
    /// # Errors
    /// When data, task, observer, hooks or disk fail, or the numbers stay non-finite or spike again and again; on all ranks
    /// when one fails. Where this rank's observer or hook failed, a checkpoint holds what was done.
    pub fn run<B>(
        &mut self,
        batches: &mut B,
        watch: &mut Watch<'_, T>,
        stop: &AtomicBool,
    ) -> Result<Outcome>
    where
        B: Batches<Batch = T::Batch> + ?Sized,
    {
        let steps = self.steps(batches, watch, stop);
        // What only looks at a step fails after it was whole.
        let whole = matches!(steps, Ok(()) | Err(Error::Observer(_)));
        let save = whole && self.last_save.0 != self.counters.step;
        let begun = if save { self.begin_save(batches, watch) } else { Ok(()) };
        // Also after an error: what was being saved becomes whole.
        let saved = begun.and(self.finish_save(watch).map(drop));
        steps?;
        self.ranks.agree(saved, Status::default())?;
        let finished = self.counters.step >= self.config.total_steps;
        Ok(if finished { Outcome::Finished } else { Outcome::Stopped })
    }

    fn steps<B>(
        &mut self,
        batches: &mut B,
        watch: &mut Watch<'_, T>,
        stop: &AtomicBool,
    ) -> Result<()>
    where
        B: Batches<Batch = T::Batch> + ?Sized,
    {
        let total = self.config.total_steps;
        let mut stopping = self.agreed_stop(Ok(()), stop)?;
        while self.counters.step < total && !stopping {
            let done = self.step_and_what_follows(batches, watch);
            stopping = self.agreed_stop(done, stop)?;
        }
        Ok(())
    }

    /// Whether any rank was asked to stop; an error on all ranks where one failed.
    fn agreed_stop(&self, done: Result<()>, stop: &AtomicBool) -> Result<bool> {
        let stop = stop.load(Ordering::SeqCst);
        Ok(self.ranks.agree(done, Status { stop, ..Status::default() })?.stop)
    }

    fn step_and_what_follows<B>(&mut self, batches: &mut B, watch: &mut Watch<'_, T>) -> Result<()>
    where
        B: Batches<Batch = T::Batch> + ?Sized,
    {
        let record = self.one_step(batches, watch)?;
        watch.metrics.write(&record)?;
        watch.observer.step(&record).map_err(Error::Observer)?;
        self.check_skips()?;
        let went_back = self.roll_back_after_a_spike(&record, watch)?;
        let improved = self.call_hooks(watch)?;
        let last = self.counters.step == self.config.total_steps;
        if went_back || improved || (!last && self.save_due()) {
            self.note_rollback_target();
            self.begin_save(batches, watch)?;
        }
        Ok(())
    }

    fn save_due(&self) -> bool {
        let since = self.last_save.1.elapsed();
        self.config.save_every.due(self.counters.step, self.config.steps_per_epoch, since)
    }

    /// Calls the hooks that are due, all of them at the end; whether a new best was found.
    fn call_hooks(&mut self, watch: &mut Watch<'_, T>) -> Result<bool> {
        let (step, per_epoch) = (self.counters.step, self.config.steps_per_epoch);
        let last = step == self.config.total_steps;
        let mut hooks = std::mem::take(&mut watch.hooks);
        let due = hooks.iter_mut().filter(|hook| last || hook.every().due(step, per_epoch));
        let records =
            due.map(|hook| self.call_hook(hook.as_mut(), watch)).collect::<Result<Vec<_>>>();
        watch.hooks = hooks;
        let mut improved = false;
        for record in records?.into_iter().flatten() {
            watch.metrics.write(&record)?;
            watch.observer.evaluated(&record).map_err(Error::Observer)?;
            improved |= self.is_best(&record);
        }
        Ok(improved)
    }

    fn call_hook(
        &mut self,
        hook: &mut dyn Hook<T>,
        watch: &mut Watch<'_, T>,
    ) -> Result<Vec<EvalRecord>> {
        let progress = self.progress();
        let mut records = hook.call(&self.task, &progress).map_err(Error::Observer)?;
        if hook.wants_average() && self.ema.is_some() {
            // Weights must not change while they are written.
            self.finish_save(watch)?;
        }
        if let Some(ema) = self.ema.as_ref().filter(|_| hook.wants_average()) {
            let averaged = Progress { averaged: true, ..progress };
            let more = ema.in_place_of_weights(|| hook.call(&self.task, &averaged))?;
            records.extend(more.map_err(Error::Observer)?);
        }
        Ok(records)
    }

    /// Whether a record says that these weights are the best so far; they are then.
    fn is_best(&mut self, record: &EvalRecord) -> bool {
        let wanted = |by: &BestBy| by.kind == record.kind;
        let Some(by) = self.config.best.filter(wanted) else { return false };
        let value = record.values.get(by.value).copied().filter(|v| v.is_finite());
        let Some(value) = value else { return false };
        if self.counters.best.is_some_and(|best| !by.improves(value, best.value)) {
            return false;
        }
        self.counters.best = Some(Best { step: record.step, value });
        true
    }

    /// Too many skipped steps in a row are an error.
    fn check_skips(&self) -> Result<()> {
        let steps = self.counters.skipped_in_row;
        if steps < MOST_SKIPPED {
            return Ok(());
        }
        Err(Error::NotFinite {
            steps,
            step: self.counters.step,
            samples: self.bad_samples.join(", "),
        })
    }
}
