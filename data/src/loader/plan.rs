//! Which samples make up which batch.

use std::ops::Range;
use std::sync::Arc;

use super::config::{LoaderConfig, LoaderState};
use super::order::{Draw, draws};
use crate::error::{Error, Result};
use crate::source::Part;

/// Samples of an epoch whose order is kept in memory.
const LONGEST_EPOCH: usize = 1 << 30;

/// One batch to be made.
pub(super) struct Job {
    pub seed: u64,
    pub epoch: u64,
    /// The source's indices in the epoch's order; shared by all batches of the epoch.
    pub order: Arc<Vec<usize>>,
    /// The places of this batch's samples in it.
    pub positions: Range<usize>,
    /// Where the batch after this one stands.
    pub next: LoaderState,
}

/// The sequence of batches of one rank.
///
/// All ranks together take `world * batch_size` samples in the order's sequence, then the next as many: what an
/// optimiser step sees does not depend on how many ranks share it.
pub(super) struct Plan {
    parts: Vec<Part>,
    repeat: usize,
    aug_repeats: usize,
    shuffle: bool,
    batch_size: usize,
    rank: usize,
    world: usize,
    epochs: Option<u64>,
    /// Samples of an epoch that are used.
    used: usize,
    next: LoaderState,
    order: Option<(u64, Arc<Vec<usize>>)>,
}

impl Plan {
    /// The sequence for a source of these parts, from `config.start` on.
    pub fn new(config: &LoaderConfig, parts: Vec<Part>) -> Result<Self> {
        check(config)?;
        let used = samples_used(config, &parts)?;
        let start = config.start;
        let together = config.batch_size * config.world;
        if start.position > used as u64 || !start.position.is_multiple_of(together as u64) {
            let expected = format!(
                "a multiple of the batch size {} x {} ranks up to the {used} samples of an epoch: were data or batch \
                 size changed?",
                config.batch_size, config.world
            );
            return Err(Error::setting("start position", start.position, &expected));
        }
        let mut plan = Self {
            parts,
            repeat: config.repeat,
            aug_repeats: config.aug_repeats,
            shuffle: config.shuffle,
            batch_size: config.batch_size,
            rank: config.rank,
            world: config.world,
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
        let together = self.batch_size * self.world;
        let rest = self.used % together;
        (self.used / together + usize::from(rest > self.rank * self.batch_size)) as u64
    }

    pub fn next_job(&mut self) -> Option<Job> {
        loop {
            let LoaderState { seed, epoch, position } = self.next;
            if self.epochs.is_some_and(|end| epoch >= end) {
                return None;
            }
            let all = position as usize;
            let start = all + self.rank * self.batch_size;
            let end = (start + self.batch_size).min(self.used);
            let position = (all + self.world * self.batch_size) as u64;
            self.next = self.normal(LoaderState { seed, epoch, position });
            if start < end {
                let order = self.order_of(seed, epoch);
                return Some(Job { seed, epoch, order, positions: start..end, next: self.next });
            }
        }
    }

    /// The end of an epoch is the start of the next.
    fn normal(&self, state: LoaderState) -> LoaderState {
        match state.position >= self.used as u64 {
            true => LoaderState { epoch: state.epoch + 1, position: 0, ..state },
            false => state,
        }
    }

    fn order_of(&mut self, seed: u64, epoch: u64) -> Arc<Vec<usize>> {
        match &self.order {
            Some((known, order)) if *known == epoch => Arc::clone(order),
            _ => {
                let draw = Draw { seed, epoch, shuffle: self.shuffle };
                let order = Arc::new(draw.order(&self.parts, self.repeat, self.aug_repeats));
                self.order = Some((epoch, Arc::clone(&order)));
                order
            }
        }
    }
}

/// How many samples of an epoch are used; an error if there is not even one group.
fn samples_used(config: &LoaderConfig, parts: &[Part]) -> Result<usize> {
    let len = draws(parts).ok_or_else(|| Error::setting("weight", "of the parts", "smaller"))?;
    let repeat = config.repeat.saturating_mul(config.aug_repeats);
    let found = len
        .checked_mul(repeat)
        .ok_or_else(|| Error::setting("repeat", repeat, "a smaller number"))?;
    if found > LONGEST_EPOCH {
        return Err(Error::LongEpoch { found, limit: LONGEST_EPOCH });
    }
    let group = config.group;
    let used = if config.drop_last { found - found % group } else { found };
    match used {
        0 => Err(Error::TooFewSamples { found, len, repeat, group }),
        used => Ok(used),
    }
}

fn check(config: &LoaderConfig) -> Result<()> {
    for (name, value) in [
        ("workers", config.workers),
        ("queue", config.queue),
        ("batch size", config.batch_size),
        ("group", config.group),
        ("repeat", config.repeat),
        ("augmentation repeats", config.aug_repeats),
        ("world", config.world),
    ] {
        if value == 0 {
            return Err(Error::setting(name, value, "at least 1"));
        }
    }
    if config.rank >= config.world {
        return Err(Error::setting(
            "rank",
            config.rank,
            &format!("below the {} ranks", config.world),
        ));
    }
    let together = config.batch_size.saturating_mul(config.world);
    if !config.group.is_multiple_of(together) {
        let (size, world) = (config.batch_size, config.world);
        let expected = format!("a multiple of the batch size {size} x {world} ranks");
        return Err(Error::setting("group", config.group, &expected));
    }
    Ok(())
}
