//! Where samples come from.

use std::ops::Range;

use crate::error::Result;
use crate::image::Image;
use crate::instances::Instances;
use crate::label_map::LabelMap;
use crate::picture::Picture;

/// A numbered collection of samples, read from many threads at once.
pub trait Source: Send + Sync {
    /// How many samples there are.
    fn len(&self) -> usize;

    /// Whether there is no sample.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A name for the sample, the same in every run: a path below the data folder, for instance. `index` is below
    /// [`len`](Self::len).
    fn id(&self, index: usize) -> String;

    /// Reads a sample; its picture is decoded when it is looked at.
    ///
    /// # Errors
    /// [`Error::NoSuchSample`](crate::Error::NoSuchSample) beyond the end, [`Error::Sample`](crate::Error::Sample)
    /// with the reason inside where the sample cannot be read.
    fn get(&self, index: usize) -> Result<Sample>;

    /// The names of the classes that [`Target::Class`] or instances count, if they are known.
    fn classes(&self) -> &[String] {
        &[]
    }

    /// What is known of a sample without its picture: by default, what [`get`](Self::get) says.
    ///
    /// # Errors
    /// See [`get`](Self::get).
    fn target(&self, index: usize) -> Result<Target> {
        Ok(self.get(index)?.target)
    }

    /// How an epoch draws the samples: ranges that follow each other and cover all of them. By default one part of
    /// which any sample is as near as any other.
    fn parts(&self) -> Vec<Part> {
        vec![Part::random_access(self.len())]
    }

    /// Told before reading begins how many samples of the order are read at once, those of other processes included:
    /// sources that keep what they unpack make room for them. It changes neither the samples nor their order.
    fn expect(&self, _in_flight: usize) {}
}

/// Samples that an epoch draws alike.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// Which samples these are.
    pub samples: Range<usize>,
    /// How often an epoch draws each: 2 is twice, 0.25 draws a quarter of them, another one each time.
    pub weight: f64,
    /// Ranges of samples that are cheap to read together, such as the files of a dataset; empty if it makes no
    /// difference. They follow each other and cover `samples`.
    pub shards: Vec<Range<usize>>,
    /// Samples of how many are drawn in one go, if there are shards: shards are drawn at random, and samples at random
    /// from as many shards as hold this many.
    pub buffer: usize,
}

impl Part {
    /// `len` samples, each read as fast as any other.
    pub fn random_access(len: usize) -> Self {
        Self { samples: 0..len, weight: 1.0, shards: Vec::new(), buffer: 0 }
    }

    /// Samples that are best read shard by shard, given the number of each; `buffer` of them are mixed.
    pub fn sharded(lengths: impl IntoIterator<Item = usize>, buffer: usize) -> Self {
        let mut end = 0;
        let shards: Vec<_> = lengths
            .into_iter()
            .filter(|&len| len > 0)
            .map(|len| {
                end += len;
                end - len..end
            })
            .collect();
        Self { samples: 0..end, weight: 1.0, shards, buffer }
    }

    /// How many samples an epoch draws: whole passes, and a share of one more.
    pub fn draws(&self) -> usize {
        let (passes, share) = self.passes();
        self.samples.len().saturating_mul(passes).saturating_add(share)
    }

    /// Whole passes, and the samples drawn in one more.
    pub(crate) fn passes(&self) -> (usize, usize) {
        let whole = self.weight.max(0.0).floor();
        let rest = ((self.weight.max(0.0) - whole) * self.samples.len() as f64).round();
        (whole as usize, rest as usize)
    }

    /// The same samples, counted from `by` on.
    pub(crate) fn shifted(mut self, by: usize) -> Self {
        for range in self.shards.iter_mut().chain([&mut self.samples]) {
            *range = range.start + by..range.end + by;
        }
        self
    }
}

/// One sample of a [`Source`].
#[derive(Clone, Debug)]
pub struct Sample {
    /// Its name, see [`Source::id`].
    pub id: String,
    /// Its image.
    pub picture: Picture,
    /// What is to be learnt about it.
    pub target: Target,
}

impl Sample {
    /// The decoded image.
    ///
    /// # Errors
    /// [`Error::Sample`](crate::Error::Sample), which names the sample, with the reason inside.
    pub fn image(&self) -> Result<&Image> {
        self.picture.image().map_err(|e| e.of_sample(self.id.clone()))
    }
}

/// What is to be learnt about an image.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Target {
    /// Nothing is known.
    None,
    /// The index of its class.
    Class(usize),
    /// Its objects; maybe none, which is known then.
    Instances(Instances),
    /// The class of each of its pixels.
    LabelMap(LabelMap),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_passes_and_a_share() {
        let part = |weight| Part { weight, ..Part::random_access(10) };
        let draws = [0.0, 0.25, 1.0, 2.5, 3.0].map(|weight| part(weight).draws());
        assert_eq!(draws, [0, 3, 10, 25, 30]);
        assert_eq!(part(2.5).passes(), (2, 5));
    }

    #[test]
    fn shards_follow_each_other() {
        let part = Part::sharded([3, 0, 2], 8);
        assert_eq!((part.samples.clone(), part.shards.clone()), (0..5, vec![0..3, 3..5]));
        assert_eq!(part.shifted(10).shards, vec![10..13, 13..15]);
    }
}
