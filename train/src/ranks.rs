//! The trainer among other ranks: what they must agree on, and when.

use std::sync::Arc;

use candle_core::Tensor;
use candle_core::backprop::GradStore;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Collective, Error, Gradients, NamedParam, Reducer, Result, Status};

/// The ranks that train together; one alone goes the same way, and waits for nobody.
pub(crate) struct Ranks(Reducer);

impl Ranks {
    pub fn new(collective: Arc<dyn Collective>, parameters: &[NamedParam]) -> Self {
        Self(Reducer::new(parameters, collective))
    }

    pub fn collective(&self) -> &dyn Collective {
        self.0.collective().as_ref()
    }

    /// Whether this rank writes files.
    pub fn writes(&self) -> bool {
        self.collective().rank() == 0
    }

    /// The backward pass of a step's last micro-batch, during which sums over ranks begin.
    pub fn backward(&self, loss: &Tensor, before: &Gradients) -> Result<GradStore> {
        self.0.backward(loss, before)
    }

    /// Makes a step's gradients the mean over ranks; also where this rank's own step failed, so that no other waits.
    /// The step's error is told at the end of the step, by [`Ranks::agree`].
    pub fn reduce(&self, step: Result<()>, gradients: &mut Gradients) -> Result<()> {
        match step {
            Ok(()) => self.0.finish(gradients),
            Err(error) if error.lost() => Err(error),
            Err(error) => self.0.drain().and(Err(error)),
        }
    }

    /// What all ranks say together of this rank's `status`, or the error of one of them: its own here, where it has one.
    pub fn agree(&self, own: Result<()>, status: Status) -> Result<Status> {
        let failure = match &own {
            Err(error) if error.lost() => return own.map(|()| status),
            // Everyone knows of it already.
            Err(Error::Rank { .. }) | Ok(()) => None,
            Err(error) => Some(error.to_string()),
        };
        let all = Status { failure, ..status }.agree(self.collective());
        own.and(all)
    }

    /// What rank 0 alone finds, given to all ranks.
    pub fn found_by_first<R: Serialize + DeserializeOwned>(
        &self,
        find: impl FnOnce() -> Result<R>,
    ) -> Result<R> {
        let found = if self.writes() { Some(find()) } else { None };
        let words: Option<std::result::Result<&R, String>> =
            found.as_ref().map(|found| found.as_ref().map_err(ToString::to_string));
        let bytes = serde_json::to_vec(&words).map_err(|error| self.garbled(&error))?;
        let bytes = self.collective().broadcast_bytes(bytes)?;
        if let Some(found) = found {
            return found;
        }
        let words: Option<std::result::Result<R, String>> =
            serde_json::from_slice(&bytes).map_err(|error| self.garbled(&error))?;
        match words {
            Some(Ok(found)) => Ok(found),
            Some(Err(reason)) => Err(Error::Rank { rank: 0, reason }),
            None => Err(self.garbled(&"nothing")),
        }
    }

    fn garbled(&self, what: &dyn std::fmt::Display) -> Error {
        let (rank, world) = (self.collective().rank(), self.collective().world());
        Error::Lost { rank, world, problem: format!("what rank 0 said cannot be read: {what}") }
    }
}
