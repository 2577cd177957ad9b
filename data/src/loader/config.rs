//! What a loader is told.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::corrupt::CorruptSample;
use crate::error::{Error, Result};

/// How a [`Loader`](crate::Loader) loads.
#[derive(Clone, Debug)]
pub struct LoaderConfig {
    /// Worker threads, at least 1.
    pub workers: usize,
    /// Batches made or being made ahead, at least 1; at least as many as workers, or some stay idle.
    pub queue: usize,
    /// Samples a batch, of this rank.
    pub batch_size: usize,
    /// Samples that one step of training takes on all ranks, a multiple of `batch_size * world`. With `drop_last` an
    /// epoch has whole groups only.
    pub group: usize,
    /// Which of the processes that share the data this is, from 0.
    pub rank: usize,
    /// How many processes share the data. The order of samples does not depend on it.
    pub world: usize,
    /// Whether every epoch has an order of its own, in which parts are drawn by their weights; else every sample is
    /// seen once, in the source's order.
    pub shuffle: bool,
    /// Whether an epoch's last incomplete group is dropped; else its last batch may be smaller.
    pub drop_last: bool,
    /// How often each sample is drawn in an epoch: that many passes, each in an order of its own.
    pub repeat: usize,
    /// How often each drawn sample stands side by side in the order, with crops and masks of its own each time:
    /// repeated augmentation. It is read and decoded once for them, as far as they fall into one batch.
    pub aug_repeats: usize,
    /// How many distinct corrupt samples are put up with.
    pub max_corrupt: MaxCorrupt,
    /// The corrupt samples that were met before `start`: they count, and are not warned of again.
    pub known_corrupt: Vec<CorruptSample>,
    /// The seed, and where to start.
    pub start: LoaderState,
    /// The number of the epoch to end before, or `None` to go on for ever.
    pub epochs: Option<u64>,
}

impl Default for LoaderConfig {
    /// One sample at a time, shuffled, for ever, by one worker.
    fn default() -> Self {
        Self {
            workers: 1,
            queue: 4,
            batch_size: 1,
            group: 1,
            rank: 0,
            world: 1,
            shuffle: true,
            drop_last: true,
            repeat: 1,
            aug_repeats: 1,
            max_corrupt: MaxCorrupt::default(),
            known_corrupt: Vec::new(),
            start: LoaderState::default(),
            epochs: None,
        }
    }
}

/// A place in the sequence of batches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoaderState {
    /// The run's seed: with it, epoch and position, every random number is given.
    pub seed: u64,
    /// The epoch, from 0.
    pub epoch: u64,
    /// Samples of this epoch already given out, on all ranks.
    pub position: u64,
}

impl LoaderState {
    /// The start of a run.
    pub fn seeded(seed: u64) -> Self {
        Self { seed, ..Self::default() }
    }
}

/// How many distinct corrupt samples are put up with before a run ends.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum MaxCorrupt {
    /// One in a hundred of the data, but ten at the least.
    #[default]
    Auto,
    /// So many.
    Count(usize),
    /// A share of the data, 0 to 1.
    Share(f64),
}

impl MaxCorrupt {
    /// How many that is of `len` samples.
    pub fn limit(self, len: usize) -> usize {
        match self {
            Self::Auto => (len / 100).max(10),
            Self::Count(count) => count,
            Self::Share(share) => (len as f64 * share) as usize,
        }
    }
}

impl FromStr for MaxCorrupt {
    type Err = Error;

    /// `10` or `1%`.
    fn from_str(text: &str) -> Result<Self> {
        let parsed = match text.strip_suffix('%') {
            Some(percent) => percent
                .parse()
                .ok()
                .filter(|p| (0.0..=100.0).contains(p))
                .map(|p: f64| Self::Share(p / 100.0)),
            None => text.parse().ok().map(Self::Count),
        };
        parsed.ok_or_else(|| Error::Setting {
            name: "max-corrupt",
            found: format!("{text:?}"),
            expected: "a number of samples such as 10, or a share of the data such as 1%".into(),
        })
    }
}

impl fmt::Display for MaxCorrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => write!(f, "1% or 10"),
            Self::Count(count) => write!(f, "{count}"),
            Self::Share(share) => write!(f, "{}%", share * 100.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_and_counted() {
        assert_eq!("10".parse::<MaxCorrupt>().unwrap(), MaxCorrupt::Count(10));
        assert_eq!("2.5%".parse::<MaxCorrupt>().unwrap().limit(1000), 25);
        assert_eq!("0".parse::<MaxCorrupt>().unwrap().limit(1000), 0);
        assert_eq!(MaxCorrupt::default().limit(100), 10);
        assert_eq!(MaxCorrupt::default().limit(5_000), 50);
        for bad in ["", "-1", "1.5", "101%", "NaN%", "%", "many"] {
            let message = bad.parse::<MaxCorrupt>().unwrap_err().to_string();
            assert!(message.contains(&format!("{bad:?}")), "{message}");
        }
    }
}
