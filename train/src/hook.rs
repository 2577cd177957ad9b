use std::str::FromStr;

use crate::error::BoxError;
use crate::metrics::EvalRecord;
use crate::trainer::Progress;

/// Something to do every so often, by steps or epochs: `500` or `2e`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Every {
    /// Every so many optimiser steps.
    Steps(u64),
    /// Every so many epochs.
    Epochs(u64),
}

impl Every {
    /// Whether it is due after `step` steps.
    pub fn due(self, step: u64, steps_per_epoch: u64) -> bool {
        match self {
            Self::Steps(every) => step.is_multiple_of(every),
            Self::Epochs(every) => step.is_multiple_of(every.saturating_mul(steps_per_epoch)),
        }
    }
}

impl FromStr for Every {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (digits, epochs) = text.strip_suffix('e').map_or((text, false), |rest| (rest, true));
        match digits.parse() {
            Ok(number) if number > 0 && epochs => Ok(Self::Epochs(number)),
            Ok(number) if number > 0 => Ok(Self::Steps(number)),
            _ => Err(format!("`{text}`: expected steps (500) or epochs (2e), above 0")),
        }
    }
}

/// What the engine calls every so often, and at the run's end, without knowing what it is: validation, pictures, a probe.
///
/// It is called by the number of steps alone, so that a resumed run calls it where the uninterrupted one does.
pub trait Hook<T> {
    /// When it is called.
    fn every(&self) -> Every;

    /// Looks at the task; what was evaluated goes into the metrics.
    ///
    /// # Errors
    /// Any error ends the run.
    fn call(&mut self, task: &T, progress: &Progress) -> Result<Vec<EvalRecord>, BoxError>;

    /// Whether it is called once more with the averaged weights in the task, where the run keeps them;
    /// [`Progress::averaged`] tells.
    fn wants_average(&self) -> bool {
        false
    }
}
