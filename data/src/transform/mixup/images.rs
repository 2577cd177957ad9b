//! Mixing the images of a batch.

use super::Mix;
use crate::error::{Error, Result};
use crate::transform::CropBox;

/// The sizes of a batch, `[samples, channels, height, width]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchShape {
    /// Images.
    pub samples: usize,
    /// Planes an image.
    pub channels: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

impl BatchShape {
    pub(super) fn check(&self) -> Result<()> {
        let Self { samples, channels, height, width } = *self;
        if samples % 2 == 1 {
            return Err(Error::Setting {
                name: "batch size",
                found: samples.to_string(),
                expected: "an even number, since images are mixed in pairs".into(),
            });
        }
        if channels == 0 || height == 0 || width == 0 {
            return Err(self.unfit("at least one channel, row and column"));
        }
        Ok(())
    }

    /// The values an image, if a batch of `len` values is of this shape.
    fn image_len(&self, len: usize) -> Result<usize> {
        self.check()?;
        let image = self.channels.checked_mul(self.height).and_then(|n| n.checked_mul(self.width));
        match image {
            Some(n) if n.checked_mul(self.samples) == Some(len) => Ok(n),
            _ => Err(self.unfit(&format!("sizes of a batch of {len} values"))),
        }
    }

    fn unfit(&self, expected: &str) -> Error {
        let Self { samples, channels, height, width } = self;
        let found = format!("{samples} x {channels} x {height} x {width}");
        Error::Setting { name: "batch shape", found, expected: expected.into() }
    }
}

/// Mixes the images of a batch, in place; one [`Mix`] an image.
///
/// # Errors
/// [`Error::Setting`] if the shape is not that of `images`, the number of images odd, or another than of `mixes`;
/// [`Error::Crop`] if a cut reaches out of its image. Then nothing is mixed.
pub fn mix_images(images: &mut [f32], shape: BatchShape, mixes: &[Mix]) -> Result<()> {
    let len = shape.image_len(images.len())?;
    if mixes.len() != shape.samples {
        let expected = format!("one for each of {} images", shape.samples);
        return Err(Error::Setting { name: "mixes", found: mixes.len().to_string(), expected });
    }
    mixes.iter().filter_map(|mix| mix.cut).try_for_each(|cut| inside(cut, shape))?;
    let (front, back) = images.split_at_mut(images.len() / 2);
    let (front_mixes, back_mixes) = mixes.split_at(mixes.len() / 2);
    let front = front.chunks_exact_mut(len).zip(front_mixes);
    let back = back.chunks_exact_mut(len).zip(back_mixes).rev();
    let mut before = vec![0.0; len];
    for ((one, one_mix), (other, other_mix)) in front.zip(back) {
        before.copy_from_slice(one);
        mix(one, other, one_mix, shape);
        mix(other, &before, other_mix, shape);
    }
    Ok(())
}

fn inside(cut: CropBox, shape: BatchShape) -> Result<()> {
    let fits =
        |start: usize, len: usize, side| start.checked_add(len).is_some_and(|end| end <= side);
    if fits(cut.top, cut.height, shape.height) && fits(cut.left, cut.width, shape.width) {
        return Ok(());
    }
    Err(Error::Crop {
        top: cut.top,
        left: cut.left,
        crop_height: cut.height,
        crop_width: cut.width,
        height: shape.height,
        width: shape.width,
    })
}

fn mix(image: &mut [f32], partner: &[f32], mix: &Mix, shape: BatchShape) {
    let Some(cut) = mix.cut else {
        if mix.lambda != 1.0 {
            let (own, others) = (mix.lambda as f32, (1.0 - mix.lambda) as f32);
            image.iter_mut().zip(partner).for_each(|(v, other)| *v = *v * own + other * others);
        }
        return;
    };
    let rows = shape.height * shape.width;
    for (plane, partner) in image.chunks_exact_mut(rows).zip(partner.chunks_exact(rows)) {
        for row in cut.top..cut.top + cut.height {
            let start = row * shape.width + cut.left;
            plane[start..start + cut.width].copy_from_slice(&partner[start..start + cut.width]);
        }
    }
}
