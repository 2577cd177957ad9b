//! Operations that look at one sample at a time: `ImageOps.invert`, `posterize` and `solarize`, timm's `solarize_add`.

use super::samples::{bytes, through};
use crate::error::Result;
use crate::image::Image;

/// Turns light into dark: `255 - v`.
///
/// # Errors
/// [`Error::Unsuited`](crate::Error::Unsuited) unless the image has 8-bit samples of 1 or 3 channels.
pub fn invert(image: &Image) -> Result<Image> {
    let samples = bytes(image, "invert")?;
    Ok(through(image, samples, &std::array::from_fn(|v| 255 - v as u8)))
}

/// Keeps the highest `bits` bits of every sample; 8 and more change nothing.
///
/// With 0 bits everything turns black, as in the TPU code that timm follows. (Newer versions of Pillow refuse 0 bits.)
///
/// # Errors
/// [`Error::Unsuited`](crate::Error::Unsuited) unless the image has 8-bit samples of 1 or 3 channels.
pub fn posterize(image: &Image, bits: u32) -> Result<Image> {
    let samples = bytes(image, "posterize")?;
    let mask = !(0xff_u8.checked_shr(bits).unwrap_or(0));
    Ok(through(image, samples, &std::array::from_fn(|v| v as u8 & mask)))
}

/// Inverts the samples that are `threshold` or more: 256 changes nothing.
///
/// # Errors
/// [`Error::Unsuited`](crate::Error::Unsuited) unless the image has 8-bit samples of 1 or 3 channels.
pub fn solarize(image: &Image, threshold: u32) -> Result<Image> {
    let samples = bytes(image, "solarize")?;
    let table = std::array::from_fn(|v| {
        let level = v as u8;
        if (v as u32) < threshold { level } else { 255 - level }
    });
    Ok(through(image, samples, &table))
}

/// Adds `add` to the samples below 128, up to 255.
///
/// # Errors
/// [`Error::Unsuited`](crate::Error::Unsuited) unless the image has 8-bit samples of 1 or 3 channels.
pub fn solarize_add(image: &Image, add: u8) -> Result<Image> {
    let samples = bytes(image, "solarize_add")?;
    let table = std::array::from_fn(|v| {
        let level = v as u8;
        if level < 128 { level.saturating_add(add) } else { level }
    });
    Ok(through(image, samples, &table))
}
