use std::str::FromStr;
use std::time::Duration;

use crate::Every;

/// How often a checkpoint is written: `500` (steps), `2e` (epochs) or `10m` (minutes).
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum SaveEvery {
    /// By the number of steps.
    Count(Every),
    /// Whenever so much time has passed.
    Time(Duration),
}

impl Default for SaveEvery {
    /// Every ten minutes.
    fn default() -> Self {
        Self::Time(Duration::from_secs(600))
    }
}

impl SaveEvery {
    /// Whether a checkpoint is due after `step` steps, `since` the last one.
    pub fn due(self, step: u64, steps_per_epoch: u64, since: Duration) -> bool {
        match self {
            Self::Count(every) => every.due(step, steps_per_epoch),
            Self::Time(every) => since >= every,
        }
    }
}

impl FromStr for SaveEvery {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let problem =
            || format!("`{text}`: expected steps (500), epochs (2e) or minutes (10m), above 0");
        match text.strip_suffix('m').map(str::parse::<u64>) {
            Some(Ok(minutes)) if minutes > 0 => {
                Ok(Self::Time(Duration::from_secs(minutes.saturating_mul(60))))
            }
            Some(_) => Err(problem()),
            None => text.parse().map(Self::Count).map_err(|_| problem()),
        }
    }
}
