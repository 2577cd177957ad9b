//! Random pixels, for benchmarks.

use crate::error::{Error, Result};
use crate::image::{Image, Pixels};
use crate::rng::{Purpose, stream};
use crate::source::{Sample, Source, Target};
use rand::RngCore;

/// Images of uniformly random 8-bit pixels: no disk, no decoding. Image `i` is always the same for the same seed.
#[derive(Clone, Debug)]
pub struct Synthetic {
    /// How many images.
    pub len: usize,
    /// Rows of each.
    pub height: usize,
    /// Columns of each.
    pub width: usize,
    /// Channels of each.
    pub channels: usize,
    /// The seed of the pixels.
    pub seed: u64,
}

impl Source for Synthetic {
    fn len(&self) -> usize {
        self.len
    }

    fn id(&self, index: usize) -> String {
        format!("synthetic-{index:06}")
    }

    fn get(&self, index: usize) -> Result<Sample> {
        if index >= self.len {
            return Err(Error::NoSuchSample { index, len: self.len });
        }
        let mut pixels = vec![0; self.height * self.width * self.channels];
        stream(self.seed, 0, index as u64, Purpose::Synthetic).fill_bytes(&mut pixels);
        let image = Image::new(self.width, self.height, self.channels, Pixels::U8(pixels))?;
        Ok(Sample { id: self.id(index), picture: image.into(), target: Target::None })
    }
}
