//! Where samples come from.

use crate::error::Result;
use crate::image::Image;

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

    /// Reads and decodes a sample.
    ///
    /// # Errors
    /// [`Error::NoSuchSample`](crate::Error::NoSuchSample) beyond the end, [`Error::Sample`](crate::Error::Sample)
    /// with the reason inside where the sample cannot be read or decoded.
    fn get(&self, index: usize) -> Result<Sample>;
}

/// One sample of a [`Source`].
#[derive(Clone, Debug)]
pub struct Sample {
    /// Its name, see [`Source::id`].
    pub id: String,
    /// The decoded image.
    pub image: Image,
    /// What is to be learnt about it.
    pub target: Target,
}

/// What is to be learnt about an image.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Target {
    /// Nothing is known.
    None,
    /// The index of its class.
    Class(usize),
}
