//! Keeping count of what could not be read.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// A sample that could not be read or decoded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CorruptSample {
    /// Its name.
    pub id: String,
    /// What was wrong with it.
    pub reason: String,
}

/// The corrupt samples of a run, each once. It is kept where batches are given out and in their order, so that it does
/// not depend on the workers.
pub(super) struct CorruptLog {
    limit: usize,
    known: HashSet<String>,
    samples: Vec<CorruptSample>,
}

impl CorruptLog {
    /// Goes on from the samples that were met before.
    pub fn new(limit: usize, before: Vec<CorruptSample>) -> Self {
        let known = before.iter().map(|sample| sample.id.clone()).collect();
        Self { limit, known, samples: before }
    }

    pub fn samples(&self) -> &[CorruptSample] {
        &self.samples
    }

    /// Adds what a batch met; an error once there are more than the limit.
    pub fn record(&mut self, found: Vec<CorruptSample>) -> Result<()> {
        for sample in found {
            if self.known.insert(sample.id.clone()) {
                tracing::warn!(
                    id = sample.id,
                    reason = sample.reason,
                    "a corrupt sample is replaced by the next good one"
                );
                self.samples.push(sample);
            }
        }
        if self.samples.len() <= self.limit {
            return Ok(());
        }
        Err(Error::TooManyCorrupt {
            count: self.samples.len(),
            limit: self.limit,
            examples: examples(&self.samples),
        })
    }
}

/// The first few, in words.
pub(super) fn examples(samples: &[CorruptSample]) -> String {
    samples
        .iter()
        .take(3)
        .map(|s| format!("{} ({})", s.id, s.reason))
        .collect::<Vec<_>>()
        .join(", ")
}
