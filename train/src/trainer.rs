use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::checkpoint::{Checkpoint, Checkpoints, RunState};
use crate::metrics::{MetricsLog, StepKind, StepRecord};
use crate::{
    AdamW, AdamWConfig, Batches, Error, Gradients, Observer, Result, SaveEvery, Schedule,
    StepContext, Task, resident_mb,
};

/// Skipped steps in a row that end a run.
const MOST_SKIPPED: usize = 10;

/// How a run is optimised and saved.
#[derive(Debug, Clone)]
pub struct TrainConfig {
    /// Optimiser steps of the whole run.
    pub total_steps: u64,
    /// Optimiser steps of an epoch.
    pub steps_per_epoch: u64,
    /// Micro-batches of a step.
    pub accum_iter: usize,
    /// The learning rate over the run.
    pub schedule: Schedule,
    /// AdamW's constants.
    pub adamw: AdamWConfig,
    /// Largest norm of the gradient, if it is clipped.
    pub clip_grad: Option<f64>,
    /// How often a checkpoint is written; one is always written at the end.
    pub save_every: SaveEvery,
    /// Checkpoints kept, the newest.
    pub keep: usize,
    /// The resolved recipe, kept in checkpoints.
    pub recipe: String,
}

impl TrainConfig {
    fn check(&self) -> Result<()> {
        let counts = [
            ("total_steps", self.total_steps),
            ("steps_per_epoch", self.steps_per_epoch),
            ("accum_iter", self.accum_iter as u64),
        ];
        match counts.iter().find(|(_, count)| *count == 0) {
            Some((name, _)) => Err(Error::ZeroCount(name)),
            None => Ok(()),
        }
    }
}

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
    task: T,
    config: TrainConfig,
    optimizer: AdamW,
    checkpoints: Checkpoints,
    step: u64,
    loss: Option<f64>,
    seconds: f64,
    skipped: u64,
    skipped_in_row: usize,
    /// Samples of the last skipped step, in words.
    bad_samples: String,
    last_save: (u64, Instant),
}

impl<T: Task> Trainer<T> {
    /// A run at its start, with checkpoints in `checkpoints`.
    ///
    /// # Errors
    /// When the task lists a parameter twice, or a count of the configuration is zero.
    pub fn new(task: T, config: TrainConfig, checkpoints: impl AsRef<Path>) -> Result<Self> {
        config.check()?;
        let optimizer = AdamW::new(task.parameters(), config.adamw)?;
        Ok(Self {
            task,
            config,
            optimizer,
            checkpoints: Checkpoints::new(checkpoints.as_ref()),
            step: 0,
            loss: None,
            seconds: 0.0,
            skipped: 0,
            skipped_in_row: 0,
            bad_samples: String::new(),
            last_save: (0, Instant::now()),
        })
    }

    /// The task.
    pub fn task(&self) -> &T {
        &self.task
    }

    /// Steps that were skipped since this object was made, because loss or gradient was not finite.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Where the run stands.
    pub fn progress(&self) -> Progress {
        let epoch = self.step as f64 / self.config.steps_per_epoch as f64;
        Progress { step: self.step, epoch, loss: self.loss, seconds: self.seconds }
    }

    /// Goes back to a checkpoint: weights, moments, counters and the state of `batches`.
    ///
    /// # Errors
    /// When the checkpoint is of another model or its files cannot be read.
    pub fn restore<B>(&mut self, checkpoint: &Checkpoint, batches: &mut B) -> Result<()>
    where
        B: Batches<Batch = T::Batch> + ?Sized,
    {
        let state = checkpoint.state();
        self.task
            .load_model(&checkpoint.model_path())
            .map_err(|source| Error::Task { step: state.step, source })?;
        self.optimizer.restore(&checkpoint.optimizer()?, state.updates)?;
        let own = state.states.get(batches.name());
        batches.restore(own.unwrap_or(&serde_json::Value::Null)).map_err(Error::Data)?;
        self.step = state.step;
        self.loss = state.loss;
        self.seconds = state.seconds;
        self.last_save = (state.step, Instant::now());
        Ok(())
    }

    /// Trains until all steps are done or `stop` is raised; a raised flag ends the run after its step.
    ///
    /// # Errors
    /// When data, task, observer or disk fail, or the numbers stay non-finite.
    pub fn run<B, O>(
        &mut self,
        batches: &mut B,
        observer: &mut O,
        metrics: &mut MetricsLog,
        stop: &AtomicBool,
    ) -> Result<Outcome>
    where
        B: Batches<Batch = T::Batch> + ?Sized,
        O: Observer<T> + ?Sized,
    {
        while self.step < self.config.total_steps && !stop.load(Ordering::SeqCst) {
            let record = self.one_step(batches)?;
            metrics.write(&record)?;
            self.check_skips()?;
            observer.step(&self.task, &record).map_err(Error::Observer)?;
            let last = self.step == self.config.total_steps;
            if last || self.step.is_multiple_of(self.config.steps_per_epoch) {
                let evaluated =
                    observer.epoch(&self.task, &self.progress()).map_err(Error::Observer)?;
                evaluated.iter().try_for_each(|record| metrics.write(record))?;
            }
            if !last && self.save_due() {
                self.save(batches, observer)?;
            }
        }
        if self.last_save.0 != self.step {
            self.save(batches, observer)?;
        }
        let finished = self.step >= self.config.total_steps;
        Ok(if finished { Outcome::Finished } else { Outcome::Stopped })
    }

    fn save_due(&self) -> bool {
        let since = self.last_save.1.elapsed();
        self.config.save_every.due(self.step, self.config.steps_per_epoch, since)
    }

    /// Writes a checkpoint and deletes those beyond the number to keep.
    fn save<B, O>(&mut self, batches: &B, observer: &mut O) -> Result<()>
    where
        B: Batches<Batch = T::Batch> + ?Sized,
        O: Observer<T> + ?Sized,
    {
        let state = RunState {
            step: self.step,
            updates: self.optimizer.step_count(),
            loss: self.loss,
            seconds: self.seconds,
            recipe: self.config.recipe.clone(),
            states: BTreeMap::from([(batches.name().to_owned(), batches.save())]),
        };
        let (task, loss) = (&self.task, self.loss);
        let folder = self.checkpoints.save(&state, &self.optimizer.state(), |path| {
            task.save_model(path, state.step, loss)
        })?;
        self.checkpoints.prune(self.config.keep, self.step)?;
        self.last_save = (self.step, Instant::now());
        observer.saved(&self.task, &self.progress(), &folder).map_err(Error::Observer)
    }

    /// One optimiser step: its micro-batches, the update, the record.
    fn one_step<B>(&mut self, batches: &mut B) -> Result<StepRecord>
    where
        B: Batches<Batch = T::Batch> + ?Sized,
    {
        let epoch = self.step as f64 / self.config.steps_per_epoch as f64;
        let lr = self.config.schedule.at(epoch);
        let mut sum = StepSum::new(self.optimizer.parameters().len());
        for _ in 0..self.config.accum_iter {
            let asked = Instant::now();
            let batch = batches.next_batch().map_err(Error::Data)?;
            sum.waiting += asked.elapsed();
            let batch = batch
                .ok_or(Error::DataEnded { step: self.step, total: self.config.total_steps })?;
            let began = Instant::now();
            self.micro_step(&batch, epoch, &mut sum)?;
            sum.computing += began.elapsed();
        }
        let began = Instant::now();
        if sum.gradients.is_empty() {
            return Err(Error::NoGradient { step: self.step });
        }
        let grad_norm = sum.gradients.norm()?;
        let finite = sum.loss.is_finite() && grad_norm.is_finite();
        if finite {
            let factor =
                self.config.clip_grad.map_or(1.0, |max| Gradients::clip_factor(grad_norm, max));
            self.optimizer.step(&sum.gradients, factor, lr)?;
        }
        sum.computing += began.elapsed();
        self.step += 1;
        self.seconds += (sum.computing + sum.waiting).as_secs_f64();
        if finite {
            self.loss = Some(sum.loss);
            self.skipped_in_row = 0;
        } else {
            self.count_skipped(&sum);
        }
        Ok(self.record(&sum, grad_norm, lr, finite))
    }

    fn micro_step(&self, batch: &T::Batch, epoch: f64, sum: &mut StepSum) -> Result<()> {
        let failed = |source| Error::Task { step: self.step, source };
        let context = StepContext { step: self.step, epoch };
        let output = self.task.loss(batch, &context).map_err(failed)?;
        let share = 1.0 / self.config.accum_iter as f64;
        let loss = f64::from(output.loss.to_scalar::<f32>()?);
        sum.loss += loss * share;
        sum.samples += output.samples;
        if !loss.is_finite() {
            sum.bad_samples.extend(self.task.sample_ids(batch));
        }
        let store = longmae_ops::backward(&(output.loss * share)?)?;
        sum.gradients.accumulate(self.optimizer.parameters(), store)
    }

    /// Counts a step whose numbers went bad.
    fn count_skipped(&mut self, sum: &StepSum) {
        self.skipped += 1;
        self.skipped_in_row += 1;
        self.bad_samples = if sum.bad_samples.is_empty() {
            "the gradient overflowed, no single one".to_owned()
        } else {
            sum.bad_samples.join(", ")
        };
        tracing::warn!("step {}: not finite, skipped (samples: {})", self.step, self.bad_samples);
    }

    /// Too many skipped steps in a row are an error.
    fn check_skips(&self) -> Result<()> {
        if self.skipped_in_row < MOST_SKIPPED {
            return Ok(());
        }
        let (steps, step, samples) = (self.skipped_in_row, self.step, self.bad_samples.clone());
        Err(Error::NotFinite { steps, step, samples })
    }

    fn record(&self, sum: &StepSum, grad_norm: f64, lr: f64, finite: bool) -> StepRecord {
        let (step_seconds, data_seconds) = (sum.computing.as_secs_f64(), sum.waiting.as_secs_f64());
        StepRecord {
            kind: if finite { StepKind::Train } else { StepKind::Skip },
            step: self.step,
            epoch: self.progress().epoch,
            loss: sum.loss,
            lr,
            grad_norm,
            step_seconds,
            data_seconds,
            images_per_second: sum.samples as f64 / (step_seconds + data_seconds),
            rss_mb: resident_mb(),
        }
    }
}

/// What the micro-batches of a step add up to.
struct StepSum {
    gradients: Gradients,
    loss: f64,
    samples: usize,
    bad_samples: Vec<String>,
    waiting: Duration,
    computing: Duration,
}

impl StepSum {
    fn new(parameters: usize) -> Self {
        Self {
            gradients: Gradients::empty(parameters),
            loss: 0.0,
            samples: 0,
            bad_samples: Vec::new(),
            waiting: Duration::ZERO,
            computing: Duration::ZERO,
        }
    }
}
