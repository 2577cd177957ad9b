//! Operations that look at how often each level occurs in a channel: `ImageOps.autocontrast` and `equalize`.

use super::samples::{bytes, through_each};
use crate::error::Result;
use crate::image::Image;

/// Stretches every channel over all levels, from its darkest sample to its lightest.
///
/// # Errors
/// [`Error::Unsuited`](crate::Error::Unsuited) unless the image has 8-bit samples of 1 or 3 channels.
pub fn auto_contrast(image: &Image) -> Result<Image> {
    by_histogram(image, "auto_contrast", stretched)
}

/// Spreads every channel's levels, so that all occur about equally often.
///
/// # Errors
/// [`Error::Unsuited`](crate::Error::Unsuited) unless the image has 8-bit samples of 1 or 3 channels.
pub fn equalize(image: &Image) -> Result<Image> {
    by_histogram(image, "equalize", equalized)
}

/// How many samples have each level.
pub(super) type Histogram = [usize; 256];

fn by_histogram(
    image: &Image,
    operation: &'static str,
    table: fn(&Histogram) -> [u8; 256],
) -> Result<Image> {
    let samples = bytes(image, operation)?;
    let mut counts = vec![[0; 256]; image.channels];
    for pixel in samples.chunks_exact(image.channels) {
        for (&v, counts) in pixel.iter().zip(&mut counts) {
            counts[usize::from(v)] += 1;
        }
    }
    let tables: Vec<_> = counts.iter().map(table).collect();
    Ok(through_each(image, samples, &tables))
}

fn unchanged() -> [u8; 256] {
    std::array::from_fn(|v| v as u8)
}

fn stretched(counts: &Histogram) -> [u8; 256] {
    let low = counts.iter().position(|&n| n > 0).unwrap_or(0);
    let high = counts.iter().rposition(|&n| n > 0).unwrap_or(0);
    if high <= low {
        return unchanged();
    }
    let scale = 255.0 / (high - low) as f64;
    let offset = -(low as f64) * scale;
    // The cast drops the fraction and stays within 0 and 255, as Pillow does.
    std::array::from_fn(|v| (v as f64 * scale + offset) as u8)
}

fn equalized(counts: &Histogram) -> [u8; 256] {
    let used = counts.iter().filter(|&&n| n > 0).count();
    let last = counts.iter().rev().find(|&&n| n > 0).copied().unwrap_or(0);
    let step = (counts.iter().sum::<usize>() - last) / 255;
    if used <= 1 || step == 0 {
        return unchanged();
    }
    let mut sum = step / 2;
    let mut table = [0; 256];
    for (out, count) in table.iter_mut().zip(counts) {
        *out = (sum / step).min(255) as u8;
        sum += count;
    }
    table
}
