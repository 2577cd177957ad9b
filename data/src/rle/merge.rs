//! Union and intersection.

use super::{Rle, refused};
use crate::error::Result;

impl Rle {
    /// What belongs to any of the masks.
    ///
    /// # Errors
    /// [`Error::Mask`](crate::Error::Mask) for no mask at all, or masks of images of different sizes.
    pub fn union<'a>(masks: impl IntoIterator<Item = &'a Rle>) -> Result<Self> {
        Self::merged(masks, |a, b| a || b)
    }

    /// What belongs to all of the masks.
    ///
    /// # Errors
    /// See [`union`](Self::union).
    pub fn intersection<'a>(masks: impl IntoIterator<Item = &'a Rle>) -> Result<Self> {
        Self::merged(masks, |a, b| a && b)
    }

    fn merged<'a>(
        masks: impl IntoIterator<Item = &'a Rle>,
        both: impl Fn(bool, bool) -> bool,
    ) -> Result<Self> {
        let mut masks = masks.into_iter();
        let Some(first) = masks.next() else {
            return Err(refused("there is none to merge".into()));
        };
        masks.try_fold(first.clone(), |a, b| {
            let (mut counts, mut run, mut ones) = (Vec::new(), 0, false);
            a.walk(b, |length, in_a, in_b| {
                if both(in_a, in_b) != ones {
                    counts.push(run);
                    (run, ones) = (0, !ones);
                }
                run += length;
            })?;
            counts.push(run);
            Ok(Self { size: a.size, counts })
        })
    }

    /// Goes through two masks at once: calls `seen` with the length of each stretch where both stay the same, and
    /// whether it belongs to either.
    fn walk(&self, other: &Self, mut seen: impl FnMut(u32, bool, bool)) -> Result<()> {
        other.check_size(self.size)?;
        let mut runs = [Runs::new(&self.counts), Runs::new(&other.counts)];
        while let [Some((a, in_a)), Some((b, in_b))] = [runs[0].current(), runs[1].current()] {
            let length = a.min(b);
            seen(length, in_a, in_b);
            runs.iter_mut().for_each(|runs| runs.advance(length));
        }
        Ok(())
    }
}

/// A place within the runs of a mask.
struct Runs<'a> {
    counts: &'a [u32],
    /// The number of the current run.
    number: usize,
    /// How much of it has been passed.
    passed: u32,
}

impl<'a> Runs<'a> {
    fn new(counts: &'a [u32]) -> Self {
        let mut runs = Self { counts, number: 0, passed: 0 };
        runs.advance(0);
        runs
    }

    /// What is left of the current run, and whether it is one of ones.
    fn current(&self) -> Option<(u32, bool)> {
        let count = self.counts.get(self.number)?;
        Some((count - self.passed, self.number % 2 == 1))
    }

    /// Passes `length` pixels, no more than are left of the current run.
    fn advance(&mut self, length: u32) {
        self.passed += length;
        while self.counts.get(self.number) == Some(&self.passed) {
            (self.number, self.passed) = (self.number + 1, 0);
        }
    }
}
