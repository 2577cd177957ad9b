//! Crops of a fixed size.

use rand::{Rng, RngCore};

use super::Motion;
use crate::transform::Size;

/// A crop of a fixed size at a random place, as detectron2's `FixedSizeCrop`.
#[derive(Clone, Debug, PartialEq)]
pub struct FixedSizeCrop {
    /// Rows and columns.
    pub size: Size,
    /// What smaller images are filled up with, of 255, or `None` to leave them small.
    pub pad: Option<u8>,
}

impl FixedSizeCrop {
    /// Draws the crop for an image of size `from`.
    pub fn draw(&self, from: Size, rng: &mut dyn RngCore) -> Motion {
        self.window(from, rng.random_range(0.0..1.0))
    }

    /// The crop for an image of size `from` that lies at `share`, within 0 to 1, of the way that it can go; the share
    /// is the same for rows and columns.
    pub fn window(&self, from: Size, share: f64) -> Motion {
        let offset = |have: usize, want: usize| {
            (have.saturating_sub(want) as f64 * share).round_ties_even() as usize
        };
        let top = offset(from.height, self.size.height);
        Motion::Crop { top, left: offset(from.width, self.size.width), size: self.size }
    }

    /// The filling up, if it is wanted.
    pub fn padding(&self) -> Option<Motion> {
        self.pad.map(|value| Motion::Pad { size: self.size, value })
    }
}
