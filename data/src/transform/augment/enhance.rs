//! Pillow's `ImageEnhance`: an image blended with a poorer version of itself.
//!
//! A factor of 0 gives the poorer version, 1 the image, more than 1 exaggerates the difference.

use super::samples::{bytes, like, luma, through};
use crate::error::Result;
use crate::image::Image;

/// `poor + factor (rich - poor)` in single precision, cut off to whole levels, as Pillow's `Image.blend`.
fn blend(poor: u8, rich: u8, factor: f32) -> u8 {
    // The cast drops the fraction and stays within 0 and 255.
    (f32::from(poor) + factor * (f32::from(rich) - f32::from(poor))) as u8
}

/// Blends with black.
///
/// # Errors
/// [`Error::Unsuited`](crate::Error::Unsuited) unless the image has 8-bit samples of 1 or 3 channels.
pub fn brightness(image: &Image, factor: f64) -> Result<Image> {
    let samples = bytes(image, "brightness")?;
    let factor = factor as f32;
    Ok(through(image, samples, &std::array::from_fn(|v| blend(0, v as u8, factor))))
}

/// Blends with grey of the image's mean brightness.
///
/// # Errors
/// [`Error::Unsuited`](crate::Error::Unsuited) unless the image has 8-bit samples of 1 or 3 channels.
pub fn contrast(image: &Image, factor: f64) -> Result<Image> {
    let samples = bytes(image, "contrast")?;
    let sum: u64 = match image.channels {
        3 => samples.chunks_exact(3).map(|pixel| u64::from(luma(pixel))).sum(),
        _ => samples.iter().map(|&v| u64::from(v)).sum(),
    };
    let pixels = (samples.len() / image.channels) as f64;
    let grey = (sum as f64 / pixels + 0.5) as u8;
    let factor = factor as f32;
    Ok(through(image, samples, &std::array::from_fn(|v| blend(grey, v as u8, factor))))
}

/// Blends with the image without colours; Pillow calls it `Color`. An image of one channel stays as it is.
///
/// # Errors
/// [`Error::Unsuited`](crate::Error::Unsuited) unless the image has 8-bit samples of 1 or 3 channels.
pub fn saturation(image: &Image, factor: f64) -> Result<Image> {
    let samples = bytes(image, "saturation")?;
    let mut out = samples.to_vec();
    if image.channels == 3 {
        let factor = factor as f32;
        for pixel in out.chunks_exact_mut(3) {
            let grey = luma(pixel);
            pixel.iter_mut().for_each(|v| *v = blend(grey, *v, factor));
        }
    }
    Ok(like(image, out))
}

/// Blends with the image smoothed: below 1 blurs, above 1 sharpens. The outermost pixels stay as they are.
///
/// # Errors
/// [`Error::Unsuited`](crate::Error::Unsuited) unless the image has 8-bit samples of 1 or 3 channels.
pub fn sharpness(image: &Image, factor: f64) -> Result<Image> {
    let samples = bytes(image, "sharpness")?;
    let (channels, stride) = (image.channels, image.width * image.channels);
    let mut out = samples.to_vec();
    if image.width < 3 || image.height < 3 {
        return Ok(like(image, out));
    }
    let factor = factor as f32;
    for (rows, out) in
        samples.windows(3 * stride).step_by(stride).zip(out[stride..].chunks_mut(stride))
    {
        let (above, rest) = rows.split_at(stride);
        let (here, below) = rest.split_at(stride);
        let inner = stride - 2 * channels;
        let left_middle_right = |row| [0, channels, 2 * channels].map(|at| part(row, at, inner));
        let out = &mut out[channels..channels + inner];
        let rows = [above, here, below].map(left_middle_right);
        for (i, out) in out.iter_mut().enumerate() {
            *out = blend(smoothed(rows.map(|row| row.map(|row| u16::from(row[i])))), *out, factor);
        }
    }
    Ok(like(image, out))
}

fn part(row: &[u8], start: usize, len: usize) -> &[u8] {
    &row[start..start + len]
}

/// Pillow's `ImageFilter.SMOOTH`: thirteenths, five of them in the middle, rounded. Pillow sums in single precision; as
/// no sum of thirteenths is half a level, whole numbers give the same.
fn smoothed([a, b, c]: [[u16; 3]; 3]) -> u8 {
    let sum = a[0] + a[1] + a[2] + b[0] + 5 * b[1] + b[2] + c[0] + c[1] + c[2];
    ((2 * sum + 13) / 26) as u8
}
