//! Mirroring.

use rand::{Rng, RngCore};

use crate::error::{Error, Result};
use crate::image::{Image, Pixels};

/// Mirrors left and right with some probability.
#[derive(Clone, Debug, PartialEq)]
pub struct HorizontalFlip {
    probability: f64,
}

impl Default for HorizontalFlip {
    /// One half.
    fn default() -> Self {
        Self { probability: 0.5 }
    }
}

impl HorizontalFlip {
    /// Mirrors with this probability.
    ///
    /// # Errors
    /// [`Error::Setting`] if it is not between 0 and 1.
    pub fn new(probability: f64) -> Result<Self> {
        if (0.0..=1.0).contains(&probability) {
            return Ok(Self { probability });
        }
        let expected = "a probability between 0 and 1".into();
        Err(Error::Setting { name: "flip", found: probability.to_string(), expected })
    }

    /// Draws, and mirrors in place.
    pub fn apply(&self, image: &mut Image, rng: &mut dyn RngCore) {
        if self.draw(rng) {
            mirror(image);
        }
    }

    /// Draws whether to mirror.
    pub(super) fn draw(&self, rng: &mut dyn RngCore) -> bool {
        rng.random_bool(self.probability)
    }
}

/// Mirrors an image.
pub(super) fn mirror(image: &mut Image) {
    let (width, channels) = (image.width, image.channels);
    match &mut image.pixels {
        Pixels::U8(samples) => mirror_rows(samples, width, channels),
        Pixels::F32(samples) => mirror_rows(samples, width, channels),
    }
}

fn mirror_rows<T>(samples: &mut [T], width: usize, channels: usize) {
    for row in samples.chunks_exact_mut((width * channels).max(1)) {
        // Reversed twice: all samples of the row, then those of each pixel.
        row.reverse();
        row.chunks_exact_mut(channels.max(1)).for_each(<[T]>::reverse);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Purpose, stream};

    #[test]
    fn rows_are_mirrored_pixel_by_pixel() {
        let mut image = Image::new(2, 2, 3, Pixels::U8((0..12).collect())).unwrap();
        HorizontalFlip::new(1.0).unwrap().apply(&mut image, &mut stream(0, 0, 0, Purpose::Crop));
        assert_eq!(image.pixels, Pixels::U8(vec![3, 4, 5, 0, 1, 2, 9, 10, 11, 6, 7, 8]));
        HorizontalFlip::new(0.0).unwrap().apply(&mut image, &mut stream(0, 0, 0, Purpose::Crop));
        assert_eq!(image.pixels, Pixels::U8(vec![3, 4, 5, 0, 1, 2, 9, 10, 11, 6, 7, 8]));
        assert!(HorizontalFlip::new(1.5).is_err() && HorizontalFlip::new(f64::NAN).is_err());
    }
}
