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
        let cut = |part: Part| Part {
            samples: kept(&part.samples),
            shards: part.shards.iter().map(kept).filter(|shard| !shard.is_empty()).collect(),
            ..part
        };
        self.source.parts().into_iter().map(cut).collect()
    }
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

    #[test]
    fn a_share_that_empties_a_part_is_refused() {
        for share in [0.0, 1.0, -0.5, 0.01, 0.99, f64::NAN] {
            assert!(split(ten(), share, 0).is_err(), "{share}");
        }
        assert!(Subset::new(ten(), vec![3, 10]).is_err());
    }
}
