use std::str::FromStr;
use std::time::Duration;

/// How often a checkpoint is written: `500` (steps), `2e` (epochs) or `10m` (minutes).
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum SaveEvery {
    /// Every so many optimiser steps.
    Steps(u64),
    /// Every so many epochs.
    Epochs(u64),
    /// Whenever so much time has passed.
    Time(Duration),
}

impl SaveEvery {
    /// Whether a checkpoint is due after `step` steps, `since` the last one.
    pub fn due(self, step: u64, steps_per_epoch: u64, since: Duration) -> bool {
        match self {
            Self::Steps(every) => step.is_multiple_of(every),
            Self::Epochs(every) => step.is_multiple_of(every.saturating_mul(steps_per_epoch)),
            Self::Time(every) => since >= every,
        }
    }
}

impl FromStr for SaveEvery {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let problem =
            || format!("`{text}`: expected steps (500), epochs (2e) or minutes (10m), above 0");
        let number =
            |digits: &str| digits.parse::<u64>().ok().filter(|n| *n > 0).ok_or_else(problem);
        if let Some(epochs) = text.strip_suffix('e') {
            number(epochs).map(Self::Epochs)
        } else if let Some(minutes) = text.strip_suffix('m') {
            number(minutes).map(|m| Self::Time(Duration::from_secs(m.saturating_mul(60))))
        } else {
            number(text).map(Self::Steps)
        }
    }
}
