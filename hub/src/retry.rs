//! When to try again, and after how long.

use std::time::Duration;

use crate::{Error, Result};

/// How often and how patiently a request is repeated.
#[derive(Debug, Clone)]
pub(crate) struct Retry {
    /// Attempts in a row without any progress, the first included.
    pub(crate) attempts: u32,
    /// The pause after the first attempt; it doubles with each.
    pub(crate) backoff: Duration,
    /// The longest pause, whatever the server asks for.
    pub(crate) longest: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: 5,
            backoff: Duration::from_millis(500),
            // The Hub counts requests in windows of five minutes.
            longest: Duration::from_secs(300),
        }
    }
}

impl Retry {
    /// Sleeps before the next attempt, or gives the error back if there should be none.
    pub(crate) fn pause(&self, failures: u32, error: Error) -> Result<()> {
        if !error.is_passing() || failures >= self.attempts {
            return Err(error);
        }
        let pause = match error.asked_wait().map(Duration::from_secs) {
            Some(asked) if asked > self.longest => return Err(error),
            Some(asked) => asked,
            None => self
                .backoff
                .saturating_mul(1u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX))
                .min(self.longest),
        };
        tracing::warn!(%error, ?pause, failures, "trying again");
        std::thread::sleep(pause);
        Ok(())
    }

    /// Runs until it succeeds, fails for good, or the attempts are used up.
    pub(crate) fn run<T>(&self, mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
        let mut failures = 0;
        loop {
            match attempt() {
                Ok(value) => return Ok(value),
                Err(error) => {
                    failures += 1;
                    self.pause(failures, error)?;
                }
            }
        }
    }

    /// The same with a single attempt.
    pub(crate) fn once(&self) -> Self {
        Self { attempts: 1, ..self.clone() }
    }
}
