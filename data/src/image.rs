//! A decoded image, and the planar form that a model takes.

use crate::error::{Error, Result};

/// A decoded image: rows from top to bottom, pixels from left to right, the channels of a pixel side by side (HWC).
#[derive(Clone, Debug, PartialEq)]
pub struct Image {
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Samples a pixel.
    pub channels: usize,
    /// `height * width * channels` samples.
    pub pixels: Pixels,
}

/// The samples of an [`Image`], `[height, width, channels]`.
#[derive(Clone, Debug, PartialEq)]
pub enum Pixels {
    /// 0 to 255.
    U8(Vec<u8>),
    /// 0 to 1 for files of integers; a file of floats keeps its own range.
    F32(Vec<f32>),
}

impl Pixels {
    /// The number of samples.
    pub fn len(&self) -> usize {
        match self {
            Self::U8(samples) => samples.len(),
            Self::F32(samples) => samples.len(),
        }
    }

    /// Whether there is no sample at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Image {
    /// Puts an image together.
    ///
    /// # Errors
    /// [`Error::Shape`] if a size is zero or `pixels` does not hold `height * width * channels` samples.
    pub fn new(width: usize, height: usize, channels: usize, pixels: Pixels) -> Result<Self> {
        let image = Self { width, height, channels, pixels };
        image.check()?;
        Ok(image)
    }

    /// The fields are public, so whoever indexes by them asks first.
    pub(crate) fn check(&self) -> Result<()> {
        let expected =
            self.width.checked_mul(self.height).and_then(|n| n.checked_mul(self.channels));
        match expected {
            Some(n) if n > 0 && n == self.pixels.len() => Ok(()),
            _ => Err(Error::Shape {
                height: self.height,
                width: self.width,
                channels: self.channels,
                samples: self.pixels.len(),
            }),
        }
    }
}

/// A normalised image as a model takes it: `[channels, height, width]`, one plane a channel.
#[derive(Clone, Debug, PartialEq)]
pub struct Planar {
    /// Planes.
    pub channels: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// `channels * height * width` values.
    pub data: Vec<f32>,
}
