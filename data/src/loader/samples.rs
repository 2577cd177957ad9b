//! What a collate function gets.

use std::ops::Range;

use rand_chacha::ChaCha8Rng;

use crate::error::{Error, Result};
use crate::rng::{Purpose, stream};
use crate::source::Target;

/// The transformed samples of a batch: their pixels one after the other, so that images of one size are a batch already.
#[derive(Clone, Debug, Default)]
pub struct Samples {
    /// What there is beside the pixels, sample by sample.
    pub items: Vec<Item>,
    /// `[channels, height, width]` of each sample.
    pub pixels: Vec<f32>,
    /// How many samples there will be.
    count: usize,
}

/// One sample of a batch.
#[derive(Clone, Debug)]
pub struct Item {
    /// The sample's name.
    pub id: String,
    /// Channels, height and width of its pixels.
    pub shape: [usize; 3],
    /// What is to be learnt about it.
    pub target: Target,
    /// The run's seed.
    pub seed: u64,
    /// The epoch it was drawn in.
    pub epoch: u64,
    /// Its place in the epoch's global order.
    pub position: u64,
}

impl Item {
    /// The generator of this place in the run for one purpose: the same however many workers there are, another one
    /// when the sample is drawn again.
    pub fn rng(&self, purpose: Purpose) -> ChaCha8Rng {
        stream(self.seed, self.epoch, self.position, purpose)
    }

    fn len(&self) -> usize {
        self.shape.iter().product()
    }
}

impl Samples {
    pub(super) fn for_count(count: usize) -> Self {
        Self { items: Vec::with_capacity(count), pixels: Vec::new(), count }
    }

    /// Adds what `make` appends to the pixels; nothing if it fails.
    pub(super) fn add(&mut self, make: impl FnOnce(&mut Vec<f32>) -> Result<Item>) -> Result<()> {
        let start = self.pixels.len();
        match make(&mut self.pixels) {
            Ok(item) => {
                // The first sample tells how much room all of them take.
                if start == 0 {
                    self.pixels.reserve_exact(item.len() * self.count.saturating_sub(1));
                }
                self.items.push(item);
                Ok(())
            }
            Err(e) => {
                self.pixels.truncate(start);
                Err(e)
            }
        }
    }

    /// `[samples, channels, height, width]` of the pixels.
    ///
    /// # Errors
    /// [`Error::Setting`] if there are no samples, or not all are of one size.
    pub fn shape(&self) -> Result<[usize; 4]> {
        let shapes = || self.items.iter().map(|item| item.shape);
        match shapes().next() {
            Some(first) if shapes().all(|shape| shape == first) => {
                Ok([self.items.len(), first[0], first[1], first[2]])
            }
            _ => Err(Error::Setting {
                name: "batch",
                found: format!("{:?}", shapes().collect::<Vec<_>>()),
                expected: "images of one size, one at least".into(),
            }),
        }
    }

    /// Each sample with its pixels.
    pub fn iter(&self) -> impl Iterator<Item = (&Item, &[f32])> {
        let mut end = 0;
        self.items.iter().map(move |item| {
            let range: Range<usize> = end..end + item.len();
            end = range.end;
            (item, &self.pixels[range])
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(shape: [usize; 3]) -> Item {
        Item { id: "x".into(), shape, target: Target::None, seed: 0, epoch: 0, position: 0 }
    }

    #[test]
    fn samples_that_fail_leave_nothing() {
        let mut samples = Samples::for_count(2);
        let add = |samples: &mut Samples, value: f32| {
            samples.add(|pixels| {
                pixels.extend([value; 6]);
                Ok(item([1, 2, 3]))
            })
        };
        add(&mut samples, 1.0).unwrap();
        let failed = samples.add(|pixels| {
            pixels.push(9.0);
            Err(Error::SinglePixel)
        });
        assert!(failed.is_err() && samples.shape().unwrap() == [1, 1, 2, 3]);
        add(&mut samples, 2.0).unwrap();
        assert_eq!(samples.shape().unwrap(), [2, 1, 2, 3]);
        assert_eq!(samples.iter().map(|(_, pixels)| pixels[5]).collect::<Vec<_>>(), [1.0, 2.0]);
        assert_eq!(samples.pixels.capacity(), 12);
    }

    #[test]
    fn sizes_that_differ_are_no_batch() {
        let mut samples = Samples::default();
        assert!(samples.shape().is_err());
        for shape in [[1, 2, 2], [1, 2, 3]] {
            samples
                .add(|pixels| {
                    pixels.resize(pixels.len() + shape.iter().product::<usize>(), 0.0);
                    Ok(item(shape))
                })
                .unwrap();
        }
        assert!(samples.shape().unwrap_err().to_string().contains("[1, 2, 3]"));
        assert_eq!(samples.iter().map(|(_, pixels)| pixels.len()).collect::<Vec<_>>(), [4, 6]);
    }
}
