//! Bytes of an image file to pixels, as Pillow gives them.

mod bitmap;
mod jpeg;
mod jpeg_end;
mod labels;
mod orient;
mod png_webp;
mod tiff;
mod tiff_palette;

pub use labels::decode_labels;

use ::image::ImageFormat;

use crate::error::{Error, Result};
use crate::image::Image;

/// The most pixels an image may claim by default: where Pillow stops with a `DecompressionBombError`.
pub const MAX_PIXELS: u64 = 178_956_970;

/// How [`decode`] treats images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeOptions {
    /// Channels of the result; see [`decode`].
    pub channels: usize,
    /// Whether an orientation noted in the file (EXIF, TIFF) is applied, so that the picture stands upright.
    pub apply_exif: bool,
    /// The most pixels an image may claim; nothing is allocated for one that claims more.
    pub max_pixels: u64,
}

impl Default for DecodeOptions {
    /// Three channels, upright, at most [`MAX_PIXELS`].
    fn default() -> Self {
        Self { channels: 3, apply_exif: true, max_pixels: MAX_PIXELS }
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
        ImageFormat::Jpeg => jpeg::decode(bytes, options)?,
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
