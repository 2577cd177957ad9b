//! Bytes of an image file to pixels, as Pillow gives them.

mod bitmap;
mod header;
mod jpeg;
mod jpeg_end;
mod labels;
mod orient;
mod png_webp;
mod tiff;
mod tiff_palette;
#[cfg(feature = "libjpeg-turbo")]
mod turbo;

/// Without a decoder of parts, all pictures are decoded whole.
#[cfg(not(feature = "libjpeg-turbo"))]
#[path = "no_part.rs"]
mod part;
#[cfg(feature = "libjpeg-turbo")]
mod part;

pub use header::{Probe, probe};
pub(crate) use part::{decode_part, partial_size};

pub use labels::decode_labels;

use ::image::ImageFormat;

use header::Header;

use crate::error::{Error, Result};
use crate::image::Image;

/// The most pixels an image may claim by default: where Pillow stops with a `DecompressionBombError`.
pub const MAX_PIXELS: u64 = 178_956_970;

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

/// Decodes a JPEG, PNG, WebP or TIFF file; which it is, its content tells.
///
/// The result has `options.channels` channels:
///
/// - 3: as Pillow's `Image.open(f).convert('RGB')`. Grey is repeated, palettes are looked up, alpha is dropped and not
///   blended, CMYK (Adobe's inverted too) is converted. 16-bit colour keeps its high byte; of 16-bit grey, Pillow
///   *clips* everything above 255 to white: ask for one channel to keep it.
/// - 1: colour is converted as Pillow's `convert('L')` does. Grey files of more than 8 bits are kept as they are.
/// - any other number: the file's own bands, if it has that many.
///
/// Kept 16-bit samples become `F32` between 0 and 1; floating-point samples stay what they are.
///
/// # Errors
/// [`Error::UnknownFormat`], [`Error::TooLarge`], [`Error::Truncated`], [`Error::Decode`], or [`Error::Channels`] if
/// the file's bands cannot give the channels asked for. A picture of which a part is missing is always an error.
pub fn decode(bytes: &[u8], options: &DecodeOptions) -> Result<Image> {
    let bitmap = match format(bytes)? {
        ImageFormat::Jpeg => jpeg::Jpeg::open(bytes, options)?.decode()?,
        ImageFormat::Png => png_webp::png(bytes, options)?,
        ImageFormat::WebP => png_webp::webp(bytes, options)?,
        ImageFormat::Tiff => tiff::decode(bytes, options)?,
        other => return Err(Error::UnknownFormat { found: format!("a file of format {other:?}") }),
    };
    let orientation = bitmap.orientation;
    let image = bitmap.into_image(options.channels)?;
    Ok(if options.apply_exif { orient::upright(image, orientation) } else { image })
}

fn format(bytes: &[u8]) -> Result<ImageFormat> {
    if bytes.is_empty() {
        return Err(Error::UnknownFormat { found: "the file is empty".into() });
    }
    ::image::guess_format(bytes).map_err(|_| {
        let start = String::from_utf8_lossy(&bytes[..bytes.len().min(12)]).into_owned();
        Error::UnknownFormat { found: format!("the file starts with {start:?}") }
    })
}

/// Refuses sizes beyond the limit, before anything is allocated for them.
fn check_size(width: usize, height: usize, options: &DecodeOptions) -> Result<()> {
    let (width, height, limit) = (width as u64, height as u64, options.max_pixels);
    match width.checked_mul(height) {
        Some(pixels) if pixels <= limit => Ok(()),
        _ => Err(Error::TooLarge { width, height, limit }),
    }
}
