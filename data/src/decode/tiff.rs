//! TIFF.

use std::borrow::Cow;
use std::io::Cursor;

use ::image::metadata::Orientation;
use ::tiff::decoder::{Decoder, DecodingResult, Limits};
use ::tiff::tags::{ExtraSamples, PhotometricInterpretation, Tag};
use ::tiff::{ColorType, TiffError};

use super::bitmap::{Bitmap, Colour, Samples, interleaved, ycc_to_rgb};
use super::tiff_tiles::Tiling;
use super::{DecodeOptions, Header, check_size, tiff_palette};
use crate::error::{Error, Result};

const FORMAT: &str = "TIFF";

pub(super) type Reader<'a> = Decoder<Cursor<Cow<'a, [u8]>>>;

pub(super) fn decode(bytes: &[u8], options: &DecodeOptions) -> Result<Bitmap> {
    let mut decoder = open(Cow::Borrowed(bytes), options)?;
    let (width, height, orientation) = size(&mut decoder, options)?;
    let (colour, samples) = match photometric(&mut decoder)? {
        Some(PhotometricInterpretation::RGBPalette) => palette_image(bytes, &mut decoder, options)?,
        _ => {
            let (stored, samples) = read(bytes, &mut decoder, options)?;
            named(&mut decoder, stored, samples)?
        }
    };
    Ok(Bitmap { width, height, colour, samples, orientation })
}

/// What the file says of itself.
pub(super) fn header(bytes: &[u8], options: &DecodeOptions) -> Result<Header> {
    let mut decoder = open(Cow::Borrowed(bytes), options)?;
    let (width, height, orientation) = size(&mut decoder, options)?;
    let bands = match photometric(&mut decoder)? {
        Some(PhotometricInterpretation::RGBPalette) => 3,
        _ => usize::from(decoder.colortype().map_err(failure)?.num_samples()),
    };
    Ok(Header { format: FORMAT, width, height, bands, orientation })
}

/// Columns, rows and orientation.
fn size(decoder: &mut Reader<'_>, options: &DecodeOptions) -> Result<(usize, usize, Orientation)> {
    let (width, height) = decoder.dimensions().map_err(failure)?;
    let (width, height) = (width as usize, height as usize);
    check_size(width, height, options)?;
    let orientation = decoder.find_tag_unsigned(Tag::Orientation).map_err(failure)?;
    let orientation = orientation.and_then(Orientation::from_exif);
    Ok((width, height, orientation.unwrap_or(Orientation::NoTransforms)))
}

fn open<'a>(bytes: Cow<'a, [u8]>, options: &DecodeOptions) -> Result<Reader<'a>> {
    let most = usize::try_from(options.max_pixels.saturating_mul(16)).unwrap_or(usize::MAX);
    let mut limits = Limits::default();
    limits.decoding_buffer_size = most;
    limits.intermediate_buffer_size = most;
    Ok(Decoder::new(Cursor::new(bytes)).map_err(failure)?.with_limits(limits))
}

fn photometric(decoder: &mut Reader<'_>) -> Result<Option<PhotometricInterpretation>> {
    let value =
        decoder.find_tag_unsigned::<u16>(Tag::PhotometricInterpretation).map_err(failure)?;
    Ok(value.and_then(PhotometricInterpretation::from_u16))
}

/// The decoder reads no palettes, so the indices are read as grey and looked up here.
fn palette_image(
    bytes: &[u8],
    decoder: &mut Reader<'_>,
    options: &DecodeOptions,
) -> Result<(Colour, Samples)> {
    let map = decoder.get_tag_u16_vec(Tag::ColorMap).map_err(failure)?;
    let grey =
        tiff_palette::as_grey(bytes).ok_or_else(|| error("its directory is damaged".into()))?;
    match read(&grey, &mut open(Cow::Borrowed(&grey), options)?, options)? {
        (ColorType::Gray(bits @ 1..=8), Samples::U8(indices)) => Ok((
            Colour::Rgb,
            Samples::U8(tiff_palette::look_up(&indices, bits, &map).map_err(error)?),
        )),
        (stored, _) => Err(error(format!("a palette with {stored:?} is not supported"))),
    }
}

/// The samples, interleaved and each in a number of its own.
fn read(
    bytes: &[u8],
    decoder: &mut Reader<'_>,
    options: &DecodeOptions,
) -> Result<(ColorType, Samples)> {
    let (width, height) = decoder.dimensions().map_err(failure)?;
    let (width, height) = (width as usize, height as usize);
    let tiling = Tiling::of(decoder, width)?;
    if tiling == (Tiling { planes: 1, width }) {
        return read_directly(decoder, width);
    }
    check_size(tiling.width, height, options)?;
    let samples = ((tiling.width * height) as u64).saturating_mul(tiling.planes as u64);
    if samples > options.max_pixels.saturating_mul(16) {
        return Err(error("its planes are larger than the limit on pixels allows".into()));
    }
    let stored = decoder.colortype().map_err(failure)?;
    let mut copy = bytes.to_vec();
    let mut all = None;
    for plane in 0..tiling.planes {
        tiling.describe(bytes, &mut copy, plane)?;
        let mut plane = open(Cow::Borrowed(&copy), options)?;
        let (_, samples) = read_directly(&mut plane, tiling.width)?;
        let samples = samples.cut(tiling.width, width, height);
        all = match all {
            None => Some(samples),
            Some(all) => Some(joined(all, samples)?),
        };
    }
    let all = all.ok_or_else(|| error("it has no bands".into()))?;
    Ok((stored, all.interleaved(tiling.planes)))
}

fn joined(all: Samples, more: Samples) -> Result<Samples> {
    all.followed_by(more).ok_or_else(|| error("its bands are of different types".into()))
}

/// The samples as the decoder gives them, interleaved and each in a number of its own.
fn read_directly(decoder: &mut Reader<'_>, width: usize) -> Result<(ColorType, Samples)> {
    let stored = decoder.colortype().map_err(failure)?;
    let mut result = DecodingResult::U8(Vec::new());
    let layout = decoder.read_image_to_buffer(&mut result).map_err(failure)?;
    if result.as_buffer(0).as_bytes().len() < layout.complete_len {
        return Err(error("its planes are larger than the limit on pixels allows".into()));
    }
    let samples = match result {
        DecodingResult::U8(v) => match stored.bit_depth() {
            bits @ 1..8 => {
                Samples::U8(unpacked(&v, width * usize::from(stored.num_samples()), bits))
            }
            _ => Samples::U8(interleaved(v, layout.planes)),
        },
        DecodingResult::U16(v) => Samples::U16(interleaved(v, layout.planes)),
        DecodingResult::F32(v) => Samples::F32(interleaved(v, layout.planes)),
        DecodingResult::F64(v) => Samples::F32(floats(v, layout.planes, |v| v as f32)),
        DecodingResult::F16(v) => Samples::F32(floats(v, layout.planes, |v| v.to_f32())),
        DecodingResult::I8(v) => Samples::F32(floats(v, layout.planes, f32::from)),
        DecodingResult::I16(v) => Samples::F32(floats(v, layout.planes, f32::from)),
        DecodingResult::I32(v) => Samples::F32(floats(v, layout.planes, |v| v as f32)),
        DecodingResult::U32(v) => Samples::F32(floats(v, layout.planes, |v| v as f32)),
        DecodingResult::U64(_) | DecodingResult::I64(_) => {
            return Err(error(format!("{stored:?} of 64-bit integers is not supported")));
        }
    };
    Ok((stored, samples))
}

/// Rows of samples of `bits` bits, each row padded to whole bytes, to a byte a sample.
fn unpacked(packed: &[u8], row_samples: usize, bits: u8) -> Vec<u8> {
    let (bits, mask) = (usize::from(bits), ((1_u16 << bits) - 1) as u8);
    let sample = |row: &[u8], i: usize| {
        let at = i * bits;
        let pair = u16::from_be_bytes([row[at / 8], row.get(at / 8 + 1).copied().unwrap_or(0)]);
        (pair >> (16 - bits - at % 8)) as u8 & mask
    };
    packed
        .chunks_exact((row_samples * bits).div_ceil(8))
        .flat_map(|row| (0..row_samples).map(move |i| sample(row, i)))
        .collect()
}

/// `[planes, pixels]` to `[pixels, planes]`, each value as it is.
fn floats<T: Copy>(samples: Vec<T>, planes: usize, float: impl Fn(T) -> f32) -> Vec<f32> {
    interleaved(samples, planes).into_iter().map(float).collect()
}

/// What the bands mean, with the samples brought to the full range and to straight alpha.
fn named(
    decoder: &mut Reader<'_>,
    stored: ColorType,
    samples: Samples,
) -> Result<(Colour, Samples)> {
    let extra = decoder
        .find_tag_unsigned_vec::<u16>(Tag::ExtraSamples)
        .map_err(failure)?
        .unwrap_or_default();
    let alpha = extra.first().and_then(|&value| ExtraSamples::from_u16(value));
    let has_alpha =
        matches!(alpha, Some(ExtraSamples::AssociatedAlpha | ExtraSamples::UnassociatedAlpha));
    Ok(match (stored, samples) {
        (ColorType::Gray(bits @ 1..8), Samples::U8(v)) => {
            let full = 255 / ((1_u16 << bits) - 1) as u8;
            (Colour::Grey, Samples::U8(v.into_iter().map(|sample| sample * full).collect()))
        }
        (ColorType::Gray(_), samples) => (Colour::Grey, samples),
        (ColorType::GrayA(_), samples) => (Colour::GreyAlpha, samples),
        (ColorType::Multiband { num_samples: 2, .. }, samples) if has_alpha => {
            (Colour::GreyAlpha, samples)
        }
        (ColorType::RGB(_), samples) => (Colour::Rgb, samples),
        (ColorType::RGBA(_), Samples::U8(v)) if alpha == Some(ExtraSamples::AssociatedAlpha) => {
            (Colour::Rgba, Samples::U8(straight_alpha(v)))
        }
        (ColorType::RGBA(_), samples) => (Colour::Rgba, samples),
        (ColorType::CMYK(_), samples) => (Colour::Cmyk, samples),
        (ColorType::YCbCr(8), Samples::U8(v)) => (
            Colour::Rgb,
            Samples::U8(v.chunks_exact(3).flat_map(|p| ycc_to_rgb([p[0], p[1], p[2]])).collect()),
        ),
        (ColorType::Multiband { num_samples, .. }, samples) => {
            (Colour::Bands(usize::from(num_samples)), samples)
        }
        (other, _) => return Err(error(format!("{other:?} is not supported"))),
    })
}

/// Pillow's undoing of colours multiplied by their alpha.
fn straight_alpha(mut samples: Vec<u8>) -> Vec<u8> {
    for pixel in samples.chunks_exact_mut(4) {
        let alpha = u32::from(pixel[3]);
        let straight =
            |v: u8| (u32::from(v) * 255).checked_div(alpha).map_or(0, |v| v.min(255) as u8);
        pixel[..3].iter_mut().for_each(|v| *v = straight(*v));
    }
    samples
}

pub(super) fn failure(e: TiffError) -> Error {
    match e {
        TiffError::IoError(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => {
            Error::Truncated { format: FORMAT }
        }
        e => error(e.to_string()),
    }
}

pub(super) fn error(reason: String) -> Error {
    Error::Decode { format: FORMAT, reason }
}
