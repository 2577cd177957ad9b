//! PNG and WebP.

use std::io::Cursor;

use ::image::codecs::png::PngDecoder;
use ::image::codecs::webp::WebPDecoder;
use ::image::{ColorType, DynamicImage, ImageDecoder, ImageError, Limits};

use super::bitmap::{Bitmap, Colour, Samples};
use super::{DecodeOptions, Header, check_size};
use crate::error::{Error, Result};

pub(super) fn png(bytes: &[u8], options: &DecodeOptions) -> Result<Bitmap> {
    let decoder = PngDecoder::with_limits(Cursor::new(bytes), limits(options));
    read(decoder.map_err(|e| failure("PNG", e))?, "PNG", options)
}

pub(super) fn webp(bytes: &[u8], options: &DecodeOptions) -> Result<Bitmap> {
    read(webp_decoder(bytes, options)?, "WebP", options)
}

pub(super) fn png_header(bytes: &[u8], options: &DecodeOptions) -> Result<Header> {
    let decoder = PngDecoder::with_limits(Cursor::new(bytes), limits(options));
    header(&mut decoder.map_err(|e| failure("PNG", e))?, "PNG", options)
}

pub(super) fn webp_header(bytes: &[u8], options: &DecodeOptions) -> Result<Header> {
    header(&mut webp_decoder(bytes, options)?, "WebP", options)
}

fn webp_decoder<'a>(
    bytes: &'a [u8],
    options: &DecodeOptions,
) -> Result<WebPDecoder<Cursor<&'a [u8]>>> {
    let mut decoder = WebPDecoder::new(Cursor::new(bytes)).map_err(|e| failure("WebP", e))?;
    decoder.set_limits(limits(options)).map_err(|e| failure("WebP", e))?;
    Ok(decoder)
}

fn header(
    decoder: &mut impl ImageDecoder,
    format: &'static str,
    options: &DecodeOptions,
) -> Result<Header> {
    let (width, height) = decoder.dimensions();
    let (width, height) = (width as usize, height as usize);
    check_size(width, height, options)?;
    let orientation = decoder.orientation().map_err(|e| failure(format, e))?;
    let bands = usize::from(decoder.color_type().channel_count());
    Ok(Header { format, width, height, bands, orientation })
}

/// Four 16-bit samples a pixel and as much again to work with: a backstop against chunks that unpack without end.
fn limits(options: &DecodeOptions) -> Limits {
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(options.max_pixels.saturating_mul(16).max(1 << 24));
    limits
}

fn read(
    mut decoder: impl ImageDecoder,
    format: &'static str,
    options: &DecodeOptions,
) -> Result<Bitmap> {
    let Header { width, height, orientation, .. } = header(&mut decoder, format, options)?;
    let colour = match decoder.color_type() {
        ColorType::L8 | ColorType::L16 => Colour::Grey,
        ColorType::La8 | ColorType::La16 => Colour::GreyAlpha,
        ColorType::Rgb8 | ColorType::Rgb16 => Colour::Rgb,
        ColorType::Rgba8 | ColorType::Rgba16 => Colour::Rgba,
        other => {
            return Err(Error::Decode {
                format,
                reason: format!("colour type {other:?} is not supported"),
            });
        }
    };
    let samples = match DynamicImage::from_decoder(decoder).map_err(|e| failure(format, e))? {
        DynamicImage::ImageLuma16(image) => Samples::U16(image.into_raw()),
        DynamicImage::ImageLumaA16(image) => Samples::U16(image.into_raw()),
        DynamicImage::ImageRgb16(image) => Samples::U16(image.into_raw()),
        DynamicImage::ImageRgba16(image) => Samples::U16(image.into_raw()),
        image => Samples::U8(image.into_bytes()),
    };
    Ok(Bitmap { width, height, colour, samples, orientation })
}

fn failure(format: &'static str, e: ImageError) -> Error {
    match e {
        ImageError::IoError(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => {
            Error::Truncated { format }
        }
        ImageError::Decoding(e) => {
            let reason = std::error::Error::source(&e)
                .map_or_else(|| e.to_string(), |inner| inner.to_string());
            Error::Decode { format, reason }
        }
        e => Error::Decode { format, reason: e.to_string() },
    }
}
