//! A part of a source, and held-out shares.

use std::ops::Range;
use std::sync::Arc;

use rand::seq::SliceRandom;

use crate::error::{Error, Result};
use crate::rng::{Purpose, stream};
use crate::source::{Part, Sample, Source, Target};

/// Some samples of another source.
#[derive(Clone)]
pub struct Subset {
    source: Arc<dyn Source>,
    indices: Vec<usize>,
}

impl Subset {
    /// The samples of `source` at `indices`, in that order.
    ///
    /// # Errors
    /// [`Error::NoSuchSample`] for an index beyond the end of `source`.
    pub fn new(source: Arc<dyn Source>, indices: Vec<usize>) -> Result<Self> {
        let len = source.len();
        match indices.iter().find(|&&index| index >= len) {
            Some(&index) => Err(Error::NoSuchSample { index, len }),
            None => Ok(Self { source, indices }),
        }
    }

    /// Which samples of the source these are.
    pub fn indices(&self) -> &[usize] {
        &self.indices
    }
}

impl Source for Subset {
    fn len(&self) -> usize {
        self.indices.len()
    }

    fn id(&self, index: usize) -> String {
        self.source.id(self.indices[index])
    }

    fn get(&self, index: usize) -> Result<Sample> {
        match self.indices.get(index) {
            Some(&index) => self.source.get(index),
            None => Err(Error::NoSuchSample { index, len: self.indices.len() }),
        }
    }

    fn classes(&self) -> &[String] {
        self.source.classes()
    }

    fn target(&self, index: usize) -> Result<Target> {
        match self.indices.get(index) {
            Some(&index) => self.source.target(index),
            None => Err(Error::NoSuchSample { index, len: self.indices.len() }),
        }
    }

    /// The source's parts, as far as they are in the subset, if the subset keeps their order.
    fn parts(&self) -> Vec<Part> {
        if !self.indices.is_sorted() {
            return vec![Part::random_access(self.len())];
        }
        let place = |index: usize| self.indices.partition_point(|&kept| kept < index);
        let kept = |range: &Range<usize>| place(range.start)..place(range.end);
        let cut = |part: Part| {
            let samples = kept(&part.samples);
            // From as many shards as before, or few samples of each would make it many more.
            let buffer = match part.buffer {
                0 => 0,
                buffer => scaled(buffer, samples.len(), part.samples.len()).max(1),
            };
            let shards = part.shards.iter().map(kept).filter(|shard| !shard.is_empty()).collect();
            Part { samples, shards, buffer, ..part }
        };
        self.source.parts().into_iter().map(cut).collect()
    }

    /// So many samples lie among more of the source's.
    fn expect(&self, in_flight: usize) {
        self.source.expect(scaled(in_flight, self.source.len(), self.len()));
    }
}

/// `number * by / of`, rounded up.
fn scaled(number: usize, by: usize, of: usize) -> usize {
    let scaled = (number as u128 * by as u128).div_ceil(of.max(1) as u128);
    usize::try_from(scaled).unwrap_or(usize::MAX)
}

/// Splits a source into a part to train on and a held-out part to validate on, in this order.
///
/// `share` of the samples, rounded, are held out: which ones depends on the seed and the number of samples alone. Both
/// parts keep the source's order.
///
/// # Errors
/// [`Error::Setting`] if `share` is not between 0 and 1, or leaves one of the parts empty.
pub fn split(source: Arc<dyn Source>, share: f64, seed: u64) -> Result<(Subset, Subset)> {
    let len = source.len();
    let held_out = (len as f64 * share).round() as usize;
    if !(share > 0.0 && share < 1.0) || held_out == 0 || held_out == len {
        return Err(Error::Setting {
            name: "held-out share",
            found: share.to_string(),
            expected: format!("a share between 0 and 1 that leaves images in both parts of {len}"),
        });
    }
    let mut indices: Vec<usize> = (0..len).collect();
    indices.shuffle(&mut stream(seed, 0, 0, Purpose::Split));
    let mut train = indices.split_off(held_out);
    train.sort_unstable();
    indices.sort_unstable();
    Ok((Subset::new(Arc::clone(&source), train)?, Subset::new(source, indices)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Synthetic;

    fn ten() -> Arc<dyn Source> {
        Arc::new(Synthetic { len: 10, height: 2, width: 2, channels: 3, seed: 0 })
    }

    #[test]
    fn the_parts_are_disjoint_complete_and_repeatable() {
        let (train, val) = split(ten(), 0.3, 5).unwrap();
        assert_eq!((train.len(), val.len()), (7, 3));
        let mut all = [train.indices(), val.indices()].concat();
        all.sort_unstable();
        assert_eq!(all, (0..10).collect::<Vec<_>>());
        assert_eq!(split(ten(), 0.3, 5).unwrap().1.indices(), val.indices());
        assert!((0..20).any(|seed| split(ten(), 0.3, seed).unwrap().1.indices() != val.indices()));
        assert_eq!(val.get(1).unwrap().id, val.id(1));
    }

    /// Ten shards of a hundred samples; remembers what it is told to expect.
    struct Sharded(std::sync::atomic::AtomicUsize);

    impl Source for Sharded {
        fn len(&self) -> usize {
            1000
        }

        fn id(&self, index: usize) -> String {
            index.to_string()
        }

        fn get(&self, index: usize) -> Result<Sample> {
            Err(Error::NoSuchSample { index, len: 0 })
        }

        fn parts(&self) -> Vec<Part> {
            vec![Part::sharded([100; 10], 250)]
        }

        fn expect(&self, in_flight: usize) {
            self.0.store(in_flight, std::sync::atomic::Ordering::Relaxed);
        }
    }

    #[test]
    fn a_subset_mixes_as_many_shards_as_its_source() {
        let source = Arc::new(Sharded(0.into()));
        for (step, buffer, expected) in [(1, 250, 30), (10, 25, 300), (500, 1, 15_000)] {
            let indices = (0..1000).step_by(step).collect();
            let subset = Arc::new(Subset::new(source.clone(), indices).unwrap());
            assert_eq!(subset.parts()[0].buffer, buffer);
            subset.expect(30);
            assert_eq!(source.0.load(std::sync::atomic::Ordering::Relaxed), expected);
            let join = crate::Join::new(vec![(subset.clone(), 1.0), (subset, 2.0)]).unwrap();
            join.expect(45);
            assert_eq!(source.0.load(std::sync::atomic::Ordering::Relaxed), expected);
        }
    }

    #[test]
    fn a_share_that_empties_a_part_is_refused() {
        for share in [0.0, 1.0, -0.5, 0.01, 0.99, f64::NAN] {
            assert!(split(ten(), share, 0).is_err(), "{share}");
        }
        assert!(Subset::new(ten(), vec![3, 10]).is_err());
    }
}
