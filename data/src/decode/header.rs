//! What an image file says of itself, without decoding it.

use ::image::ImageFormat;
use ::image::metadata::Orientation;

use super::jpeg::Jpeg;
use super::{DecodeOptions, contained, format, npy, orient, png_webp, tiff};
use crate::error::{Error, Result};

/// What a file's header says, as stored.
pub(super) struct Header {
    pub format: &'static str,
    pub width: usize,
    pub height: usize,
    pub bands: usize,
    pub orientation: Orientation,
}

/// What an image file says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// The name of its format.
    pub format: &'static str,
    /// Rows of the upright picture.
    pub height: usize,
    /// Columns of the upright picture.
    pub width: usize,
    /// Bands in the file; alpha and the inks of CMYK count, the colours of a palette count as three, or as four if some
    /// are transparent.
    pub channels: usize,
}

/// Reads the header of an image file. That it is good says nothing of the pixels.
///
/// # Errors
/// As [`decode`](super::decode), as far as the header shows.
pub fn probe(bytes: &[u8], options: &DecodeOptions) -> Result<Probe> {
    let header = contained(|| header(bytes, options))?;
    let Header { format, width, height, bands, orientation } = header;
    let swapped = options.apply_exif && orient::swaps_axes(orientation);
    let (height, width) = if swapped { (width, height) } else { (height, width) };
    Ok(Probe { format, height, width, channels: bands })
}

fn header(bytes: &[u8], options: &DecodeOptions) -> Result<Header> {
    if bytes.starts_with(npy::MAGIC) {
        return npy::header(bytes, options);
    }
    match format(bytes)? {
        ImageFormat::Jpeg => Ok(Jpeg::open(bytes, options)?.header()),
        ImageFormat::Png => png_webp::png_header(bytes, options),
        ImageFormat::WebP => png_webp::webp_header(bytes, options),
        ImageFormat::Tiff => tiff::header(bytes, options),
        other => Err(Error::UnknownFormat { found: format!("a file of format {other:?}") }),
    }
}
