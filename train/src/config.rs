use crate::{Error, OptimizerConfig, Result, SaveEvery, Schedule};

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
    /// The optimiser.
    pub optimizer: OptimizerConfig,
    /// Largest norm of the gradient, if it is clipped.
    pub clip_grad: Option<f64>,
    /// Decay of an exponential moving average of the weights, if one is kept, such as 0.9999.
    pub ema: Option<f64>,
    /// Go back to the last checkpoint's weights, and on with new data, when the loss is above this multiple of its
    /// running median in several steps in a row.
    pub rollback: Option<f64>,
    /// How often a checkpoint is written; one is always written at the end.
    pub save_every: SaveEvery,
    /// Checkpoints kept, the newest.
    pub keep: usize,
    /// The best checkpoint is written when it is found, and kept: where this number is best.
    pub best: Option<BestBy>,
    /// The resolved recipe, kept in checkpoints.
    pub recipe: String,
}

/// The number that says which checkpoint is best: the smallest, or the largest, of those that hooks evaluate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BestBy {
    /// The kind of the record.
    pub kind: &'static str,
    /// The number's name in it.
    pub value: &'static str,
    /// Whether more is better: an accuracy and not a loss.
    pub larger: bool,
}

impl BestBy {
    /// Whether a value is better than the best so far; one that is the same is not.
    pub(crate) fn improves(&self, value: f64, best: f64) -> bool {
        if self.larger { value > best } else { value < best }
    }
}

impl TrainConfig {
    /// A run of so many steps without accumulation, clipping, average or rollback: a checkpoint every ten minutes, of
    /// which two are kept.
    pub fn new(total_steps: u64, steps_per_epoch: u64, schedule: Schedule) -> Self {
        Self {
            total_steps,
            steps_per_epoch,
            accum_iter: 1,
            schedule,
            optimizer: OptimizerConfig::default(),
            clip_grad: None,
            ema: None,
            rollback: None,
            save_every: SaveEvery::default(),
            keep: 2,
            best: None,
            recipe: String::new(),
        }
    }

    pub(crate) fn check(&self) -> Result<()> {
        let counts = [
            ("total_steps", self.total_steps),
            ("steps_per_epoch", self.steps_per_epoch),
            ("accum_iter", self.accum_iter as u64),
        ];
        if let Some((name, _)) = counts.iter().find(|(_, count)| *count == 0) {
            return Err(Error::ZeroCount(name));
        }
        if let Some(decay) = self.ema.filter(|decay| !(0.0..1.0).contains(decay)) {
            return Err(Error::Setting {
                name: "ema",
                found: decay,
                expected: "from 0 to below 1",
            });
        }
        if let Some(factor) = self.rollback.filter(|factor| !(*factor > 1.0 && factor.is_finite()))
        {
            return Err(Error::Setting { name: "rollback", found: factor, expected: "above 1" });
        }
        Ok(())
    }
}
