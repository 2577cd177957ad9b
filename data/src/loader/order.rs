//! Which samples make up which batch.

use std::ops::Range;
use std::sync::Arc;

use rand::seq::SliceRandom;

use super::config::{LoaderConfig, LoaderState};
use crate::error::{Error, Result};
use crate::rng::{Purpose, stream};

/// One batch to be made.
pub(super) struct Job {
    pub epoch: u64,
    /// The source's indices in the epoch's order; shared by all batches of the epoch.
    pub order: Arc<Vec<usize>>,
    /// The places of this batch's samples in it.
    pub positions: Range<usize>,
    /// Where the batch after this one stands.
    pub next: LoaderState,
}

/// The sequence of batches.
pub(super) struct Plan {
    len: usize,
    repeat: usize,
    seed: u64,
    shuffle: bool,
    batch_size: usize,
    epochs: Option<u64>,
    /// Samples of an epoch that are used.
    used: usize,
    next: LoaderState,
    order: Option<(u64, Arc<Vec<usize>>)>,
}

impl Plan {
    /// The sequence for a source of `len` samples, from `config.start` on.
    pub fn new(config: &LoaderConfig, len: usize) -> Result<Self> {
        check(config)?;
        let (group, repeat) = (config.group, config.repeat);
        let found =
            len.checked_mul(repeat).ok_or_else(|| setting("repeat", repeat, "a smaller number"))?;
        let used = if config.drop_last { found - found % group } else { found };
        if used == 0 {
            return Err(Error::TooFewSamples { found, len, repeat, group });
        }
        let start = config.start;
        if start.position > used as u64
            || !(start.position as usize).is_multiple_of(config.batch_size)
        {
            let expected = format!(
                "a multiple of the batch size {} up to the {used} samples of an epoch: were data or batch size changed?",
                config.batch_size
            );
            return Err(setting("start position", start.position, &expected));
        }
        let mut plan = Self {
            len,
            repeat,
            seed: config.seed,
            shuffle: config.shuffle,
            batch_size: config.batch_size,
            epochs: config.epochs,
            used,
            next: start,
            order: None,
        };
        plan.next = plan.normal(start);
        Ok(plan)
    }

    pub fn state(&self) -> LoaderState {
        self.next
    }

    pub fn batches_per_epoch(&self) -> u64 {
        self.used.div_ceil(self.batch_size) as u64
    }

    pub fn next_job(&mut self) -> Option<Job> {
        let LoaderState { epoch, position } = self.next;
        if self.epochs.is_some_and(|end| epoch >= end) {
            return None;
        }
        let start = position as usize;
        let end = (start + self.batch_size).min(self.used);
        self.next = self.normal(LoaderState { epoch, position: end as u64 });
        Some(Job { epoch, order: self.order_of(epoch), positions: start..end, next: self.next })
    }

    /// The end of an epoch is the start of the next.
    fn normal(&self, state: LoaderState) -> LoaderState {
        match state.position >= self.used as u64 {
            true => LoaderState { epoch: state.epoch + 1, position: 0 },
            false => state,
        }
    }

    fn order_of(&mut self, epoch: u64) -> Arc<Vec<usize>> {
        match &self.order {
            Some((known, order)) if *known == epoch => Arc::clone(order),
            _ => {
                let order = Arc::new(self.draw_order(epoch));
                self.order = Some((epoch, Arc::clone(&order)));
                order
            }
        }
    }

    /// Pass after pass over the source, so that the draws of one sample lie far apart.
    fn draw_order(&self, epoch: u64) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.repeat).flat_map(|_| 0..self.len).collect();
        if self.shuffle {
            for (pass, samples) in order.chunks_exact_mut(self.len).enumerate() {
                samples.shuffle(&mut stream(self.seed, epoch, pass as u64, Purpose::Shuffle));
            }
        }
        order
    }
}

fn check(config: &LoaderConfig) -> Result<()> {
    for (name, value) in [
        ("workers", config.workers),
        ("queue", config.queue),
        ("batch size", config.batch_size),
        ("group", config.group),
        ("repeat", config.repeat),
    ] {
        if value == 0 {
            return Err(setting(name, value, "at least 1"));
        }
    }
    if !config.group.is_multiple_of(config.batch_size) {
        return Err(setting(
            "group",
            config.group,
            &format!("a multiple of the batch size {}", config.batch_size),
        ));
    }
    Ok(())
}

fn setting(name: &'static str, found: impl ToString, expected: &str) -> Error {
    Error::Setting { name, found: found.to_string(), expected: format!("must be {expected}") }
}
