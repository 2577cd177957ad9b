//! JPEG.

use ::image::metadata::Orientation;
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::bitmap::{Bitmap, Colour, Samples, ycc_to_rgb};
use super::{DecodeOptions, check_size, jpeg_end};
use crate::error::{Error, Result};

const FORMAT: &str = "JPEG";

pub(super) fn decode(bytes: &[u8], options: &DecodeOptions) -> Result<Bitmap> {
    // Cameras and editors leave oddities in headers that no decoder minds: strictness starts with the pixels.
    let lenient = DecoderOptions::default()
        .set_max_width(65_535)
        .set_max_height(65_535)
        .set_strict_mode(false);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), lenient);
    decoder.decode_headers().map_err(|e| failure(bytes, &e))?;
    let (width, height) = decoder.dimensions().ok_or_else(|| error("it has no size"))?;
    check_size(width, height, options)?;
    if !jpeg_end::has_end(bytes) {
        return Err(Error::Truncated { format: FORMAT });
    }

    let stored = decoder.input_colorspace().ok_or_else(|| error("it has no colour space"))?;
    let (wanted, colour) = match stored {
        ColorSpace::Luma => (ColorSpace::Luma, Colour::Grey),
        ColorSpace::YCbCr | ColorSpace::RGB => (ColorSpace::RGB, Colour::Rgb),
        ColorSpace::CMYK | ColorSpace::YCCK => (stored, Colour::Cmyk),
        other => return Err(error(&format!("colour space {other:?} is not supported"))),
    };
    decoder.set_options(lenient.set_strict_mode(true).jpeg_set_out_colorspace(wanted));
    let mut samples = decoder.decode().map_err(|e| failure(bytes, &e))?;
    match stored {
        ColorSpace::YCCK => samples.chunks_exact_mut(4).for_each(ycck_to_cmyk),
        // Every CMYK JPEG is taken for Adobe's, which stores the inks inverted, as Pillow does.
        ColorSpace::CMYK => samples.iter_mut().for_each(|v| *v = 255 - *v),
        _ => {}
    }
    let orientation = decoder.exif().and_then(|exif| Orientation::from_exif_chunk(exif));
    let orientation = orientation.unwrap_or(Orientation::NoTransforms);
    Ok(Bitmap { width, height, colour, samples: Samples::U8(samples), orientation })
}

/// Inverted YCCK to CMYK. What its YCbCr gives, libjpeg takes for the inverted inks and Pillow inverts once more; so the
/// two inversions cancel out, save for K.
fn ycck_to_cmyk(pixel: &mut [u8]) {
    let inks = ycc_to_rgb([pixel[0], pixel[1], pixel[2]]);
    pixel[..3].copy_from_slice(&inks);
    pixel[3] = 255 - pixel[3];
}

/// What failed, or that bytes are missing if that is why.
fn failure(bytes: &[u8], e: &dyn std::fmt::Display) -> Error {
    match jpeg_end::has_end(bytes) {
        true => error(&e.to_string()),
        false => Error::Truncated { format: FORMAT },
    }
}

fn error(reason: &str) -> Error {
    Error::Decode { format: FORMAT, reason: reason.to_owned() }
}
