use std::path::Path;

use crate::error::BoxError;
use crate::metrics::{EvalRecord, StepRecord};
use crate::trainer::Progress;

/// Whom the engine tells what it does: a progress bar, a log.
pub trait Observer {
    /// After each optimiser step.
    ///
    /// # Errors
    /// Any error ends the run.
    fn step(&mut self, _record: &StepRecord) -> Result<(), BoxError> {
        Ok(())
    }

    /// After a hook evaluated something.
    ///
    /// # Errors
    /// Any error ends the run.
    fn evaluated(&mut self, _record: &EvalRecord) -> Result<(), BoxError> {
        Ok(())
    }

    /// After a checkpoint was written; `progress` is what it holds.
    ///
    /// # Errors
    /// Any error ends the run.
    fn saved(&mut self, _progress: &Progress, _folder: &Path) -> Result<(), BoxError> {
        Ok(())
    }
}

/// An observer that does nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Observer for Silent {}
