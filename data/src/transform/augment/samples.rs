//! What augmentations work on: 8-bit samples of one or three channels, as Pillow's modes `L` and `RGB`.

use crate::error::{Error, Result};
use crate::image::{Image, Pixels};

/// The samples, or an error that names the operation.
pub(super) fn bytes<'a>(image: &'a Image, operation: &'static str) -> Result<&'a [u8]> {
    image.check()?;
    let kind = match &image.pixels {
        Pixels::U8(samples) if matches!(image.channels, 1 | 3) => return Ok(samples),
        Pixels::U8(_) => "8-bit samples",
        Pixels::F32(_) => "float samples",
    };
    let found = format!("{} channels of {kind}", image.channels);
    Err(Error::Unsuited { operation, found })
}

/// An image of the same size with other samples.
pub(super) fn like(image: &Image, samples: Vec<u8>) -> Image {
    let Image { width, height, channels, .. } = *image;
    Image { width, height, channels, pixels: Pixels::U8(samples) }
}

/// The image seen through one table for all channels.
pub(super) fn through(image: &Image, samples: &[u8], table: &[u8; 256]) -> Image {
    like(image, samples.iter().map(|&v| table[usize::from(v)]).collect())
}

/// The image seen through a table a channel.
pub(super) fn through_each(image: &Image, samples: &[u8], tables: &[[u8; 256]]) -> Image {
    match tables {
        [r, g, b] => {
            let mut out = samples.to_vec();
            for pixel in out.chunks_exact_mut(3) {
                for (v, table) in pixel.iter_mut().zip([r, g, b]) {
                    *v = table[usize::from(*v)];
                }
            }
            like(image, out)
        }
        [one, ..] => through(image, samples, one),
        [] => like(image, samples.to_vec()),
    }
}

/// The brightness of red, green and blue, as Pillow's `convert('L')`: ITU-R 601-2 in 16 bits of fraction, rounded.
pub(super) fn luma(pixel: &[u8]) -> u8 {
    let weighted = |v: Option<&u8>, weight: u32| v.map_or(0, |&v| u32::from(v) * weight);
    let sum = weighted(pixel.first(), 19_595)
        + weighted(pixel.get(1), 38_470)
        + weighted(pixel.get(2), 7_471);
    // At most 255: the weights add up to 65536.
    ((sum + 0x8000) >> 16) as u8
}
