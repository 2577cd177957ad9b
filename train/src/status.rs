//! What the ranks tell each other at the end of every step.

use serde::{Deserialize, Serialize};

use crate::{Collective, Error, Result};

/// How a step was for one rank.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Status {
    /// Whether it was asked to stop.
    pub stop: bool,
    /// Why it cannot go on, if so.
    pub failure: Option<String>,
    /// Names of the samples with which its numbers went bad.
    pub bad_samples: Vec<String>,
    /// Numbers that are summed: losses, samples, seconds. As many on every rank.
    pub sums: Vec<f64>,
}

/// What is sent only if something is wrong.
#[derive(Serialize, Deserialize)]
struct Words {
    failure: Option<String>,
    bad_samples: Vec<String>,
}

impl Status {
    /// What all ranks together say: any rank's stop, all bad samples in the order of ranks, the sums. All get the same.
    ///
    /// A single small sum as long as nothing is wrong.
    ///
    /// # Errors
    /// [`Error::Rank`] on all ranks when any of them failed, the first of them; [`Error::Lost`] when communication is
    /// broken.
    pub fn agree(mut self, collective: &dyn Collective) -> Result<Self> {
        let flag = |raised: bool| if raised { 1.0 } else { 0.0 };
        let wrong = self.failure.is_some() || !self.bad_samples.is_empty();
        let mut numbers = vec![flag(self.stop), flag(wrong)];
        numbers.append(&mut self.sums);
        collective.sum(&mut numbers)?;
        let sums = numbers.split_off(2);
        let mut all = Self { stop: numbers[0] > 0.0, sums, ..Self::default() };
        if numbers[1] > 0.0 {
            let words = Words { failure: self.failure, bad_samples: self.bad_samples };
            all.bad_samples = everyones(words, collective)?;
        }
        Ok(all)
    }
}

/// All bad samples, or the first failure.
fn everyones(words: Words, collective: &dyn Collective) -> Result<Vec<String>> {
    let lost = |error: serde_json::Error| Error::Lost {
        rank: collective.rank(),
        world: collective.world(),
        problem: format!("what a rank said of its step cannot be read: {error}"),
    };
    let bytes = serde_json::to_vec(&words).map_err(lost)?;
    let all = collective.gather_bytes(bytes)?;
    let all = all.iter().map(|bytes| serde_json::from_slice::<Words>(bytes).map_err(lost));
    let all = all.collect::<Result<Vec<_>>>()?;
    let mut failures = all.iter().enumerate().filter_map(|(rank, words)| {
        words.failure.clone().map(|reason| Error::Rank { rank, reason })
    });
    match failures.next() {
        Some(error) => Err(error),
        None => Ok(all.into_iter().flat_map(|words| words.bad_samples).collect()),
    }
}
