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
        for (column, out) in out[channels..stride - channels].iter_mut().enumerate() {
            let smooth = smoothed([below, here, above].map(|row| {
                [row[column], row[column + channels], row[column + 2 * channels]].map(f32::from)
            }));
            *out = blend(smooth, *out, factor);
        }
    }
    Ok(like(image, out))
}

/// Pillow's `ImageFilter.SMOOTH`: thirteenths, five of them in the middle; summed in Pillow's order, for equal rounding.
fn smoothed([below, here, above]: [[f32; 3]; 3]) -> u8 {
    const ONE: f32 = 1.0 / 13.0;
    const FIVE: f32 = 5.0 / 13.0;
    let row =
        |[left, middle, right]: [f32; 3], weight: f32| left * ONE + middle * weight + right * ONE;
    (0.5 + row(below, ONE) + row(here, FIVE) + row(above, ONE)) as u8
}
