//! Bytes of an image file to pixels, as Pillow gives them.

mod bitmap;
mod header;
mod jpeg;
mod jpeg_end;
mod labels;
mod npy;
mod orient;
mod png_webp;
mod tiff;
mod tiff_directory;
mod tiff_palette;
mod tiff_tiles;
#[cfg(feature = "libjpeg-turbo")]
mod turbo;

/// Without a decoder of parts, all pictures are decoded whole.
#[cfg(not(feature = "libjpeg-turbo"))]
#[path = "no_part.rs"]
mod part;
#[cfg(feature = "libjpeg-turbo")]
mod part;

pub use header::{Probe, probe};
pub use labels::decode_labels;
pub(crate) use part::{decode_part, partial_size};

use std::panic::{UnwindSafe, catch_unwind};

use ::image::ImageFormat;
use ::image::metadata::Orientation;

use bitmap::{Bitmap, Colour, Samples};
use header::Header;

use crate::error::{Error, Result};
use crate::image::Image;
use crate::size::MAX_PIXELS;

/// Whether this build can decode JPEG files at a smaller size (feature `libjpeg-turbo`).
pub const SCALED_DECODING: bool = cfg!(feature = "libjpeg-turbo");

/// How [`decode`] treats images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeOptions {
    /// Channels of the result; see [`decode`].
    pub channels: usize,
    /// Whether an orientation noted in the file (EXIF, TIFF) is applied, so that the picture stands upright.
    pub apply_exif: bool,
    /// The most pixels an image may claim; nothing is allocated for one that claims more.
    pub max_pixels: u64,
    /// Whether a JPEG may be decoded at a half, a quarter or an eighth of its size where a crop of it is shrunk at
    /// least as much afterwards. That is faster and changes pixels a little. Needs the feature `libjpeg-turbo`, and
    /// does nothing without it (see [`SCALED_DECODING`]).
    pub scaled: bool,
}

impl Default for DecodeOptions {
    /// Three channels, upright, at most [`MAX_PIXELS`].
    fn default() -> Self {
        Self { channels: 3, apply_exif: true, max_pixels: MAX_PIXELS, scaled: false }
    }
}

/// Decodes a JPEG, PNG, WebP, TIFF or NPY file; which it is, its content tells.
///
/// The result has `options.channels` channels:
///
/// - 3: as Pillow's `Image.open(f).convert('RGB')`. Grey is repeated, palettes are looked up, alpha is dropped and not
///   blended, CMYK (Adobe's inverted too) is converted. 16-bit colour keeps its high byte; of 16-bit grey, Pillow
///   *clips* everything above 255 to white: ask for one channel to keep it.
/// - 1: colour is converted as Pillow's `convert('L')` does. Grey files of more than 8 bits are kept as they are.
/// - any other number: the file's own bands, if it has that many.
///
/// Kept unsigned 16-bit samples become `F32` between 0 and 1. Floating-point samples, and integers that are signed or of
/// 32 bits, stay what they are as `F32`: they are measurements, whose range the format does not tell. NaN and infinities
/// of such files are passed on.
///
/// An NPY file holds an array `[height, width]`, `[height, width, bands]` or `[bands, height, width]` of `u1`, `u2`, `u4`,
/// `i1`, `i2`, `i4`, `f2`, `f4`, `f8` or `b1` (false is 0, true is 255), in either order of bytes and of indices. Bands are
/// last if the last size is the number of channels asked for, otherwise first. One band alone is repeated for three
/// channels, with all its bits.
///
/// # Errors
/// [`Error::UnknownFormat`], [`Error::TooLarge`], [`Error::Truncated`], [`Error::Decode`], or [`Error::Channels`] if
/// the file's bands cannot give the channels asked for. A picture of which a part is missing is always an error.
pub fn decode(bytes: &[u8], options: &DecodeOptions) -> Result<Image> {
    let bitmap = contained(|| bitmap(bytes, options))?;
    let orientation = bitmap.orientation;
    let image = bitmap.into_image(options.channels)?;
    Ok(if options.apply_exif { orient::upright(image, orientation) } else { image })
}

fn bitmap(bytes: &[u8], options: &DecodeOptions) -> Result<Bitmap> {
    if bytes.starts_with(npy::MAGIC) {
        return npy::decode(bytes, options);
    }
    match format(bytes)? {
        ImageFormat::Jpeg => jpeg::Jpeg::open(bytes, options)?.decode(),
        ImageFormat::Png => png_webp::png(bytes, options),
        ImageFormat::WebP => png_webp::webp(bytes, options),
        ImageFormat::Tiff => tiff::decode(bytes, options),
        other => Err(Error::UnknownFormat { found: format!("a file of format {other:?}") }),
    }
}

/// What `decoder` gives. Decoders hold assertions about what files say (tiff does); to the caller, a panic is one more way
/// for a file to be damaged.
fn contained<T>(decoder: impl FnOnce() -> Result<T> + UnwindSafe) -> Result<T> {
    catch_unwind(decoder).unwrap_or_else(|panic| {
        let message = panic.downcast_ref::<String>().map(String::as_str);
        let message = message.or_else(|| panic.downcast_ref::<&str>().copied());
        let reason = format!("the decoder failed: {}", message.unwrap_or("no message"));
        Err(Error::Decode { format: "image", reason })
    })
}

fn format(bytes: &[u8]) -> Result<ImageFormat> {
    if bytes.is_empty() {
        return Err(Error::UnknownFormat { found: "the file is empty".into() });
    }
    // BigTIFF is unknown to `guess_format`.
    if bytes.starts_with(b"II\x2B\0") || bytes.starts_with(b"MM\0\x2B") {
        return Ok(ImageFormat::Tiff);
    }
    if bytes.starts_with(b"PK\x03\x04") {
        let found = "a ZIP archive; if it is a .npz, save each of its arrays as a .npy".into();
        return Err(Error::UnknownFormat { found });
    }
    ::image::guess_format(bytes).map_err(|_| {
        let start = String::from_utf8_lossy(&bytes[..bytes.len().min(12)]).into_owned();
        Error::UnknownFormat { found: format!("the file starts with {start:?}") }
    })
}

/// An image from pixels of one band, grey, or three, RGB; see [`decode`] for the channels.
pub(crate) fn from_bytes(
    (width, height): (usize, usize),
    bands: usize,
    samples: Vec<u8>,
    channels: usize,
) -> Result<Image> {
    let colour = if bands == 1 { Colour::Grey } else { Colour::Rgb };
    let (samples, orientation) = (Samples::U8(samples), Orientation::NoTransforms);
    Bitmap { width, height, colour, samples, orientation }.into_image(channels)
}

/// Refuses sizes beyond the limit, before anything is allocated for them.
fn check_size(width: usize, height: usize, options: &DecodeOptions) -> Result<()> {
    let (width, height, limit) = (width as u64, height as u64, options.max_pixels);
    match width.checked_mul(height) {
        Some(pixels) if pixels <= limit => Ok(()),
        _ => Err(Error::TooLarge { width, height, limit }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decoder_that_panics_is_an_error() {
        let error = contained(|| -> Result<()> { panic!("row {} is missing", 3) }).unwrap_err();
        let expected = "cannot decode the image file: the decoder failed: row 3 is missing";
        assert_eq!(error.to_string(), expected);
        assert_eq!(contained(|| Ok(7)).unwrap(), 7);
    }
}
