use std::path::Path;

use crate::error::BoxError;
use crate::metrics::{EvalRecord, StepRecord};
use crate::trainer::Progress;

/// What the engine calls while it trains, without knowing what it is: a progress bar, validation, pictures.
pub trait Observer<T> {
    /// After each optimiser step.
    ///
    /// # Errors
    /// Any error ends the run.
    fn step(&mut self, _task: &T, _record: &StepRecord) -> Result<(), BoxError> {
        Ok(())
    }

    /// After the last step of each epoch, and of the run. What was evaluated goes into the metrics.
    ///
    /// # Errors
    /// Any error ends the run.
    fn epoch(&mut self, _task: &T, _progress: &Progress) -> Result<Vec<EvalRecord>, BoxError> {
        Ok(Vec::new())
    }

    /// After a checkpoint was written.
    ///
    /// # Errors
    /// Any error ends the run.
    fn saved(&mut self, _task: &T, _progress: &Progress, _folder: &Path) -> Result<(), BoxError> {
        Ok(())
    }
}

/// An observer that does nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl<T> Observer<T> for Silent {}
