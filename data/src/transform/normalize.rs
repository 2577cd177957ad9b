//! Samples to planes of mean 0 and deviation 1.

use crate::error::{Error, Result};
use crate::image::{Image, Pixels, Planar};

/// ImageNet's means of red, green and blue, of samples between 0 and 1.
pub const IMAGENET_MEAN: [f32; 3] = [0.485, 0.456, 0.406];
/// ImageNet's standard deviations of red, green and blue, of samples between 0 and 1.
pub const IMAGENET_STD: [f32; 3] = [0.229, 0.224, 0.225];

/// `(sample - mean) / std` a channel, with 8-bit samples divided by 255 first.
#[derive(Clone, Debug, PartialEq)]
pub struct Normalize {
    mean: Vec<f32>,
    std: Vec<f32>,
}

impl Normalize {
    /// With a mean and a standard deviation a channel.
    ///
    /// # Errors
    /// [`Error::Setting`] if there is none, not as many of one as of the other, one is not finite, or a deviation is
    /// not positive.
    pub fn new(mean: Vec<f32>, std: Vec<f32>) -> Result<Self> {
        let usable = !mean.is_empty()
            && mean.len() == std.len()
            && mean.iter().chain(&std).all(|v| v.is_finite())
            && std.iter().all(|&v| v > 0.0);
        if usable {
            return Ok(Self { mean, std });
        }
        Err(Error::Setting {
            name: "mean and std",
            found: format!("{mean:?} and {std:?}"),
            expected: "one finite number a channel of each, the deviations above 0".into(),
        })
    }

    /// What is taken if nothing is given: ImageNet's numbers for three channels; for any other number 0.5 and 0.5,
    /// which brings 0 to 1 to -1 to 1. Better numbers are the data's own.
    pub fn for_channels(channels: usize) -> Self {
        match channels {
            3 => Self { mean: IMAGENET_MEAN.to_vec(), std: IMAGENET_STD.to_vec() },
            n => Self { mean: vec![0.5; n], std: vec![0.5; n] },
        }
    }

    /// The mean of each channel.
    pub fn mean(&self) -> &[f32] {
        &self.mean
    }

    /// The standard deviation of each channel.
    pub fn std(&self) -> &[f32] {
        &self.std
    }

    /// Normalises, and puts the channels apart: `[height, width, channels]` to `[channels, height, width]`.
    ///
    /// # Errors
    /// [`Error::Channels`] if the image has another number of channels, [`Error::Shape`] if its sizes are wrong.
    pub fn apply(&self, image: &Image) -> Result<Planar> {
        let mut data = Vec::new();
        self.append(image, false, &mut data)?;
        Ok(Planar { channels: image.channels, height: image.height, width: image.width, data })
    }

    /// Appends the normalised planes of an image, mirrored or not, to what is there.
    ///
    /// # Errors
    /// See [`apply`](Self::apply); nothing is appended then.
    pub fn append(&self, image: &Image, mirrored: bool, planes: &mut Vec<f32>) -> Result<()> {
        image.check()?;
        let (found, expected) = (image.channels, self.mean.len());
        if found != expected {
            return Err(Error::Channels { found, expected });
        }
        planes.reserve(image.pixels.len());
        for (channel, (&mean, &std)) in self.mean.iter().zip(&self.std).enumerate() {
            match &image.pixels {
                Pixels::U8(samples) => {
                    let table: [f32; 256] =
                        std::array::from_fn(|v| (v as f32 / 255.0 - mean) / std);
                    let value = |v: u8| table[usize::from(v)];
                    append_plane(planes, samples, image, channel, mirrored, value);
                }
                Pixels::F32(samples) => {
                    let value = |v: f32| (v - mean) / std;
                    append_plane(planes, samples, image, channel, mirrored, value);
                }
            }
        }
        Ok(())
    }
}

/// Appends one channel of the interleaved `samples` of an image, row by row.
fn append_plane<T: Copy>(
    planes: &mut Vec<f32>,
    samples: &[T],
    image: &Image,
    channel: usize,
    mirrored: bool,
    value: impl Fn(T) -> f32,
) {
    for row in samples.chunks_exact(image.width * image.channels) {
        let values = row.chunks_exact(image.channels).map(|pixel| value(pixel[channel]));
        if mirrored {
            planes.extend(values.rev());
        } else {
            planes.extend(values);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transform::flip::mirror;

    #[test]
    fn channels_come_apart_normalised() {
        let normalize = Normalize::new(vec![0.5, 0.0], vec![0.5, 2.0]).unwrap();
        let bytes = Image::new(2, 1, 2, Pixels::U8(vec![0, 255, 255, 0])).unwrap();
        assert_eq!(normalize.apply(&bytes).unwrap().data, [-1.0, 1.0, 0.5, 0.0]);
        let floats = Image::new(2, 1, 2, Pixels::F32(vec![0.0, 1.0, 1.0, 0.0])).unwrap();
        assert_eq!(normalize.apply(&floats).unwrap().data, [-1.0, 1.0, 0.5, 0.0]);
        assert!(matches!(
            Normalize::for_channels(3).apply(&bytes),
            Err(Error::Channels { found: 2, expected: 3 })
        ));
    }

    /// Mirrored while it is normalised is normalised after it was mirrored, behind what is there.
    #[test]
    fn planes_are_appended_mirrored_or_not() {
        let normalize = Normalize::new(vec![0.1, 0.2, 0.3], vec![0.5, 0.6, 0.7]).unwrap();
        let image = Image::new(3, 2, 3, Pixels::U8((0..18).map(|v| v * 13).collect())).unwrap();
        let mut mirrored = image.clone();
        mirror(&mut mirrored);
        let mut planes = vec![7.0];
        normalize.append(&image, true, &mut planes).unwrap();
        normalize.append(&image, false, &mut planes).unwrap();
        assert_eq!(planes[1..19], normalize.apply(&mirrored).unwrap().data);
        assert_eq!(planes[19..], normalize.apply(&image).unwrap().data);
        let grey = Image::new(1, 1, 1, Pixels::U8(vec![0])).unwrap();
        assert!(normalize.append(&grey, false, &mut planes).is_err() && planes.len() == 37);
    }

    #[test]
    fn numbers_that_cannot_be_are_refused() {
        for (mean, std) in [
            (vec![], vec![]),
            (vec![0.0], vec![0.0]),
            (vec![0.0], vec![1.0, 1.0]),
            (vec![f32::NAN], vec![1.0]),
        ] {
            assert!(Normalize::new(mean, std).is_err());
        }
    }
}
