//! How a run is saved, while it goes on, and how it goes back to what was saved.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use candle_core::Var;

use crate::metrics::RollbackRecord;
use crate::tensors::shared_tensors;
use crate::trainer::Counters;
use crate::{
    Batches, Checkpoint, Checkpoints, Error, Progress, Result, RunState, Snapshot, SpikeDetector,
    Status, StepKind, StepRecord, Task, Trainer, Watch,
};

/// Rollbacks that end a run.
const MOST_ROLLBACKS: u32 = 10;

/// A checkpoint that is being written by another thread.
pub(crate) struct Saving {
    thread: JoinHandle<Result<PathBuf>>,
    progress: Progress,
    /// Steps of the checkpoints that this one refers to. What is found to be better while it is written is not on the
    /// disk yet, and takes nothing's place.
    wanted: [Option<u64>; 2],
}

impl Saving {
    /// Begins; `log` is brought to the disk before.
    fn begin(
        checkpoints: Checkpoints,
        snapshot: Snapshot,
        log: Option<File>,
        progress: Progress,
    ) -> Result<Self> {
        let state = &snapshot.state;
        let wanted = [state.best.map(|best| best.step), state.rollback_to];
        let write = move || {
            // Where a file cannot be flushed, it is no reason to do without a checkpoint.
            let _ = log.map(|log| log.sync_data());
            checkpoints.save(snapshot)
        };
        let thread = std::thread::Builder::new().name("save".to_owned()).spawn(write);
        Ok(Self { thread: thread.map_err(Error::Thread)?, progress, wanted })
    }
}

impl<T: Task> Trainer<T> {
    /// Begins to write a checkpoint from the live weights; the next update waits for it.
    pub(crate) fn begin_save<B>(&mut self, batches: &B, watch: &mut Watch<'_, T>) -> Result<()>
    where
        B: Batches<Batch = T::Batch> + ?Sized,
    {
        if !self.ranks.writes() {
            self.last_save = (self.counters.step, Instant::now());
            return Ok(());
        }
        self.finish_save(watch)?;
        let Counters { step, loss, .. } = self.counters;
        let snapshot = Snapshot {
            state: self.state(BTreeMap::from([(batches.name().to_owned(), batches.save())])),
            model: self
                .task
                .model_writer(step, loss)
                .map_err(|source| Error::Task { step, source })?,
            optimizer: shared_tensors(&self.optimizer.state()),
            ema: self.ema.as_ref().map(|ema| ema.state()),
        };
        let (checkpoints, log) = (self.checkpoints.clone(), watch.metrics.handle()?);
        self.saving = Some(Saving::begin(checkpoints, snapshot, log, self.progress())?);
        self.last_save = (step, Instant::now());
        Ok(())
    }

    /// The checkpoint that is about to be written is one that a spike goes back to, if the loss is no high one already.
    /// One that is written for a stop is none: the run would go on otherwise than without it.
    pub(crate) fn note_rollback_target(&mut self) {
        if self.spikes.as_ref().is_some_and(|spikes| spikes.high() == 0) {
            self.counters.rollback_to = Some(self.counters.step);
        }
    }

    fn state(&self, states: BTreeMap<String, serde_json::Value>) -> RunState {
        let Counters { step, loss, seconds, skipped, skipped_in_row, rollbacks, rollback_to, best } =
            self.counters;
        let spikes = self.spikes.as_ref();
        RunState {
            step,
            updates: self.optimizer.step_count(),
            loss,
            seconds,
            skipped,
            skipped_in_row,
            losses: spikes.map(SpikeDetector::state).unwrap_or_default(),
            high_losses: spikes.map_or(0, SpikeDetector::high),
            rollbacks,
            rollback_to,
            best,
            recipe: self.config.recipe.clone(),
            states,
        }
    }

    /// Waits for the checkpoint that is being written, if one is, deletes those beyond the number to keep, and says how
    /// long that took.
    pub(crate) fn finish_save(&mut self, watch: &mut Watch<'_, T>) -> Result<Option<Duration>> {
        let Some(saving) = self.saving.take() else { return Ok(None) };
        let began = Instant::now();
        let Saving { thread, progress, wanted } = saving;
        let folder = thread.join().map_err(|_| Error::Saving)??;
        self.checkpoints.prune(self.config.keep, progress.step, &wanted)?;
        let waited = began.elapsed();
        watch.observer.saved(&progress, &folder).map_err(Error::Observer)?;
        Ok(Some(waited))
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
        self.restore_weights(checkpoint)?;
        self.take_state(state, batches)
    }

    /// Gives all ranks what rank 0 has: weights, moments, averages, counters and the state of `batches`. For the start of
    /// a run, after rank 0 restored a checkpoint if there is one.
    ///
    /// # Errors
    /// When communication is broken, or rank 0 trains something else.
    pub fn synchronize<B>(&mut self, batches: &mut B) -> Result<()>
    where
        B: Batches<Batch = T::Batch> + ?Sized,
    {
        let states = BTreeMap::from([(batches.name().to_owned(), batches.save())]);
        let state = self.ranks.found_by_first(|| Ok(self.state(states)))?;
        self.share_tensors(state.updates)?;
        let taken = match self.ranks.writes() {
            true => Ok(()),
            false => self.take_state(&state, batches),
        };
        self.ranks.agree(taken, Status::default()).map(drop)
    }

    /// Sets every tensor of the run to what rank 0 has.
    fn share_tensors(&mut self, updates: u64) -> Result<()> {
        let mut vars: Vec<Var> =
            self.optimizer.parameters().iter().map(|p| p.var.clone()).collect();
        vars.extend(self.optimizer.state().into_iter().map(|(_, var)| var));
        vars.extend(self.ema.iter().flat_map(|ema| ema.vars()).map(|(_, var)| var));
        self.ranks.collective().broadcast(&vars)?;
        self.optimizer.set_step_count(updates);
        Ok(())
    }

    /// Takes over what is not tensors.
    fn take_state<B>(&mut self, state: &RunState, batches: &mut B) -> Result<()>
    where
        B: Batches<Batch = T::Batch> + ?Sized,
    {
        let own = state.states.get(batches.name());
        batches.restore(own.unwrap_or(&serde_json::Value::Null)).map_err(Error::Data)?;
        self.counters = Counters {
            step: state.step,
            loss: state.loss,
            seconds: state.seconds,
            skipped: state.skipped,
            skipped_in_row: state.skipped_in_row,
            rollbacks: state.rollbacks,
            rollback_to: state.rollback_to,
            best: state.best,
        };
        if let Some(spikes) = &mut self.spikes {
            spikes.restore(&state.losses, state.high_losses);
        }
        self.last_save = (state.step, Instant::now());
        Ok(())
    }

    /// Weights, moments and averages.
    fn restore_weights(&mut self, checkpoint: &Checkpoint) -> Result<()> {
        let state = checkpoint.state();
        let optimizer = checkpoint.optimizer()?;
        // Before the weights are touched.
        self.optimizer.check(&optimizer)?;
        self.task
            .load_model(&checkpoint.model_path())
            .map_err(|source| Error::Task { step: state.step, source })?;
        self.optimizer.restore(&optimizer, state.updates)?;
        match &self.ema {
            Some(ema) => ema.restore(checkpoint.ema()?.as_ref()),
            None => Ok(()),
        }
    }

    /// Goes back to the last checkpoint's weights when the loss has spiked with this step; steps and data go on, so
    /// that the batches before the spike are not seen again. Whether that happened.
    pub(crate) fn roll_back_after_a_spike(
        &mut self,
        record: &StepRecord,
        watch: &mut Watch<'_, T>,
    ) -> Result<bool> {
        let Some(spikes) = self.spikes.as_mut().filter(|_| record.kind == StepKind::Train) else {
            return Ok(false);
        };
        if !spikes.push(record.loss) {
            return Ok(false);
        }
        let step = self.counters.step;
        self.counters.rollbacks += 1;
        if self.counters.rollbacks > MOST_ROLLBACKS {
            return Err(Error::Spikes { rollbacks: self.counters.rollbacks, step });
        }
        let Some(to) = self.go_back(watch)? else {
            tracing::warn!(
                "step {step}: the loss spiked, and there is no checkpoint to go back to yet"
            );
            return Ok(false);
        };
        let (loss, epoch) = (record.loss, record.epoch);
        tracing::warn!(
            "step {step}: the loss spiked to {loss:.4}: back to the weights of step {to}"
        );
        watch.metrics.write(&RollbackRecord { kind: "rollback", step, epoch, to, loss })?;
        Ok(true)
    }

    /// Goes back to the weights that a spike goes back to, on all ranks; their step, if there are any.
    fn go_back(&mut self, watch: &mut Watch<'_, T>) -> Result<Option<u64>> {
        let ranks = self.ranks.clone();
        let Some((step, updates)) = ranks.found_by_first(|| self.go_back_here(watch))? else {
            return Ok(None);
        };
        self.share_tensors(updates)?;
        Ok(Some(step))
    }

    /// The step and updates of the weights it went back to.
    fn go_back_here(&mut self, watch: &mut Watch<'_, T>) -> Result<Option<(u64, u64)>> {
        self.finish_save(watch)?;
        let Some(step) = self.counters.rollback_to else { return Ok(None) };
        let checkpoint = Checkpoint::open(&self.checkpoints.path(step))?;
        self.restore_weights(&checkpoint)?;
        Ok(Some((step, self.optimizer.step_count())))
    }
}
