//! Label maps: PNG files whose values are numbers of classes.

use std::io::Cursor;

use png::{BitDepth, ColorType, Decoder, DecodingError, Transformations};

use super::{DecodeOptions, check_size, contained};
use crate::error::{Error, Result};
use crate::image::{Image, Pixels};

const FORMAT: &str = "PNG";

/// Decodes a label map: a PNG file of one channel of at most 8 bits.
///
/// The values are those of the file. Of a file with a palette they are the numbers of the colours, not the colours; and
/// values of 1, 2 or 4 bits are not stretched to 255, as grey would be.
///
/// # Errors
/// [`Error::Decode`] if the file is no PNG file of one channel of at most 8 bits, [`Error::TooLarge`],
/// [`Error::Truncated`].
pub fn decode_labels(bytes: &[u8], max_pixels: u64) -> Result<Image> {
    contained(|| decoded(bytes, max_pixels))
}

fn decoded(bytes: &[u8], max_pixels: u64) -> Result<Image> {
    let mut decoder = Decoder::new(Cursor::new(bytes));
    decoder.set_transformations(Transformations::IDENTITY);
    decoder.set_limits(png::Limits { bytes: 1 << 26 });
    let mut reader = decoder.read_info().map_err(|e| failure(&e))?;
    let (colour, depth) = reader.output_color_type();
    let (width, height) = reader.info().size();
    let (width, height) = (width as usize, height as usize);
    check_size(width, height, &DecodeOptions { max_pixels, ..DecodeOptions::default() })?;
    if !matches!(colour, ColorType::Grayscale | ColorType::Indexed) || depth == BitDepth::Sixteen {
        return Err(error(format!(
            "a label map has one channel of at most 8 bits, not {colour:?} of {} bits",
            depth as u8
        )));
    }
    let size = reader.output_buffer_size().ok_or_else(|| error("it is too large".into()))?;
    let mut packed = vec![0; size];
    let frame = reader.next_frame(&mut packed).map_err(|e| failure(&e))?;
    reader.finish().map_err(|e| failure(&e))?;
    let line = frame.line_size.max(1);
    let labels = packed.chunks_exact(line).take(height).flat_map(|row| unpacked(row, depth, width));
    Image::new(width, height, 1, Pixels::U8(labels.collect()))
}

/// The first `width` values of a row; the first one is in a byte's highest bits.
fn unpacked(row: &[u8], depth: BitDepth, width: usize) -> impl Iterator<Item = u8> + '_ {
    let bits = depth as usize;
    let (in_byte, mask) = (8 / bits, u8::MAX >> (8 - bits));
    (0..width).map(move |x| (row[x / in_byte] >> (8 - bits * (1 + x % in_byte))) & mask)
}

fn failure(e: &DecodingError) -> Error {
    match e {
        DecodingError::IoError(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => {
            Error::Truncated { format: FORMAT }
        }
        e => error(e.to_string()),
    }
}

fn error(reason: String) -> Error {
    Error::Decode { format: FORMAT, reason }
}
