//! One optimiser step: its micro-batches, the update, the record.

use std::time::{Duration, Instant};

use crate::{
    Batches, Error, Gradients, Result, Status, StepContext, StepKind, StepRecord, Task, Trainer,
    Watch, resident_mb,
};

/// Names of bad samples that are told at most.
const MOST_NAMES: usize = 64;

impl<T: Task> Trainer<T> {
    pub(crate) fn one_step<B>(
        &mut self,
        batches: &mut B,
        watch: &mut Watch<'_, T>,
    ) -> Result<StepRecord>
    where
        B: Batches<Batch = T::Batch> + ?Sized,
    {
        let epoch = self.progress().epoch;
        let lr = self.config.schedule.at(epoch);
        let mut sum = StepSum::new(self.optimizer.parameters().len());
        let tried = self.micro_steps(batches, epoch, &mut sum);
        let began = Instant::now();
        let reduced = self.ranks.reduce(tried, &mut sum.gradients);
        self.sum_over_ranks(reduced, &mut sum)?;
        if sum.gradients.is_empty() {
            return Err(Error::NoGradient { step: self.counters.step });
        }
        let grad_norm = sum.gradients.norm()?;
        sum.computing += began.elapsed();
        let finite = sum.loss.is_finite() && grad_norm.is_finite();
        if finite {
            // Weights must not change while they are written.
            sum.saving = self.finish_save(watch)?;
            let began = Instant::now();
            self.update(&sum.gradients, grad_norm, lr)?;
            sum.computing += began.elapsed();
        }
        self.count(&mut sum, finite);
        Ok(self.record(sum, grad_norm, lr, finite))
    }

    fn micro_steps<B>(&self, batches: &mut B, epoch: f64, sum: &mut StepSum) -> Result<()>
    where
        B: Batches<Batch = T::Batch> + ?Sized,
    {
        for number in 1..=self.config.accum_iter {
            let batch = self.next_batch(batches, sum)?;
            let began = Instant::now();
            self.micro_step(&batch, epoch, number == self.config.accum_iter, sum)?;
            sum.computing += began.elapsed();
        }
        Ok(())
    }

    /// Loss and samples of all ranks, or the error of one of them.
    fn sum_over_ranks(&self, reduced: Result<()>, sum: &mut StepSum) -> Result<()> {
        let sums = vec![sum.loss, sum.samples as f64, sum.waiting.as_secs_f64()];
        let status =
            Status { bad_samples: std::mem::take(&mut sum.bad), sums, ..Status::default() };
        let all = self.ranks.agree(reduced, status)?;
        let world = self.ranks.collective().world() as f64;
        if let [loss, samples, waiting] = all.sums[..] {
            sum.loss = loss / world;
            sum.samples = samples as usize;
            let total = sum.computing + sum.waiting;
            sum.waiting = Duration::from_secs_f64(waiting / world);
            sum.computing = total.saturating_sub(sum.waiting);
        }
        sum.bad = all.bad_samples;
        Ok(())
    }

    fn next_batch<B>(&self, batches: &mut B, sum: &mut StepSum) -> Result<T::Batch>
    where
        B: Batches<Batch = T::Batch> + ?Sized,
    {
        let asked = Instant::now();
        let batch = batches.next_batch().map_err(Error::Data)?;
        sum.waiting += asked.elapsed();
        let (step, total) = (self.counters.step, self.config.total_steps);
        batch.ok_or(Error::DataEnded { step, total })
    }

    fn micro_step(
        &self,
        batch: &T::Batch,
        epoch: f64,
        last: bool,
        sum: &mut StepSum,
    ) -> Result<()> {
        let step = self.counters.step;
        let context = StepContext { step, epoch };
        let output =
            self.task.loss(batch, &context).map_err(|source| Error::Task { step, source })?;
        let share = 1.0 / self.config.accum_iter as f64;
        let shared = (&output.loss * share)?;
        let store = match last {
            true => self.ranks.backward(&shared, &sum.gradients)?,
            false => longmae_ops::backward(&shared)?,
        };
        sum.gradients.accumulate(self.optimizer.parameters(), store)?;
        // Read last: a GPU is waited for here, and has the backward pass to do meanwhile.
        let loss = f64::from(output.loss.to_scalar::<f32>()?);
        sum.loss += loss * share;
        sum.samples += output.samples;
        let names = if loss.is_finite() { &mut sum.seen } else { &mut sum.bad };
        names.extend(self.task.sample_ids(batch));
        Ok(())
    }

    fn update(&mut self, gradients: &Gradients, grad_norm: f64, lr: f64) -> Result<()> {
        let clip = self.config.clip_grad;
        let factor = clip.map_or(1.0, |max| Gradients::clip_factor(grad_norm, max));
        self.optimizer.step(gradients, factor, lr)?;
        self.ema.as_ref().map_or(Ok(()), |ema| ema.update())
    }

    /// Counts the step, with the samples of one whose numbers went bad.
    fn count(&mut self, sum: &mut StepSum, finite: bool) {
        let counters = &mut self.counters;
        counters.step += 1;
        counters.seconds += (sum.computing + sum.waiting).as_secs_f64();
        if finite {
            counters.loss = Some(sum.loss);
            counters.skipped_in_row = 0;
            return;
        }
        counters.skipped += 1;
        counters.skipped_in_row += 1;
        // Where only the gradient overflowed, no single sample is to blame.
        let names = if sum.bad.is_empty() { &mut sum.seen } else { &mut sum.bad };
        names.truncate(MOST_NAMES);
        self.bad_samples = std::mem::take(names);
        let (step, names) = (counters.step, self.bad_samples.join(", "));
        tracing::warn!("step {step}: loss or gradient is not finite, skipped (samples: {names})");
    }

    fn record(&self, sum: StepSum, grad_norm: f64, lr: f64, finite: bool) -> StepRecord {
        let (step_seconds, data_seconds) = (sum.computing.as_secs_f64(), sum.waiting.as_secs_f64());
        StepRecord {
            kind: if finite { StepKind::Train } else { StepKind::Skip },
            step: self.counters.step,
            epoch: self.progress().epoch,
            loss: sum.loss,
            lr,
            grad_norm,
            step_seconds,
            data_seconds,
            images_per_second: sum.samples as f64 / (step_seconds + data_seconds),
            rss_mb: resident_mb(),
            save_seconds: sum.saving.map(|waited| waited.as_secs_f64()),
            samples: if finite { Vec::new() } else { self.bad_samples.clone() },
        }
    }
}

/// What the micro-batches of a step add up to.
struct StepSum {
    gradients: Gradients,
    loss: f64,
    samples: usize,
    /// Names of the samples whose loss was finite, and was not.
    seen: Vec<String>,
    bad: Vec<String>,
    waiting: Duration,
    computing: Duration,
    /// How long the update waited for a checkpoint.
    saving: Option<Duration>,
}

impl StepSum {
    fn new(parameters: usize) -> Self {
        Self {
            gradients: Gradients::empty(parameters),
            loss: 0.0,
            samples: 0,
            seen: Vec::new(),
            bad: Vec::new(),
            waiting: Duration::ZERO,
            computing: Duration::ZERO,
            saving: None,
        }
    }
}
