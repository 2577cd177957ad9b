//! NumPy's arrays (`.npy`).

mod header;

use ::image::metadata::Orientation;
use half::f16;

use super::bitmap::{Bitmap, Colour, Samples};
use super::{DecodeOptions, check_size};
use crate::error::{Error, Result};
use header::Header;
pub(super) use header::MAGIC;

const FORMAT: &str = "NPY";

/// What the file says of itself.
pub(super) fn header(bytes: &[u8], options: &DecodeOptions) -> Result<super::Header> {
    let header = header::read(bytes).map_err(error)?.ok_or(Error::Truncated { format: FORMAT })?;
    let Layout { width, height, bands, .. } = Layout::of(&header, options.channels)?;
    check_size(width, height, options)?;
    let orientation = Orientation::NoTransforms;
    Ok(super::Header { format: FORMAT, width, height, bands, orientation })
}

/// An array of shape `[height, width]`, `[height, width, bands]` or `[bands, height, width]`.
pub(super) fn decode(bytes: &[u8], options: &DecodeOptions) -> Result<Bitmap> {
    let header = header::read(bytes).map_err(error)?.ok_or(Error::Truncated { format: FORMAT })?;
    let layout = Layout::of(&header, options.channels)?;
    check_size(layout.width, layout.height, options)?;
    let element = Element::of(&header.descr)?;
    let count = header.shape.iter().try_fold(1_usize, |all, &size| all.checked_mul(size));
    let claimed = count.and_then(|count| count.checked_mul(element.size));
    let data = bytes.get(header.data..).unwrap_or_default();
    match claimed {
        Some(0) => return Err(error(format!("its shape {:?} holds nothing", header.shape))),
        Some(claimed) if claimed == data.len() => {}
        Some(claimed) if claimed < data.len() => {
            return Err(error(format!(
                "it has {} bytes where its shape {:?} of {} takes {claimed}",
                data.len(),
                header.shape,
                header.descr
            )));
        }
        _ => return Err(Error::Truncated { format: FORMAT }),
    }
    let samples = element.samples(data, &layout);
    // Grey is repeated for three channels as it is, not by way of 8 bits.
    let samples =
        if layout.bands < options.channels { samples.repeated(options.channels) } else { samples };
    Ok(Bitmap {
        width: layout.width,
        height: layout.height,
        colour: Colour::Bands(options.channels),
        samples,
        orientation: Orientation::NoTransforms,
    })
}

/// Sizes, and how far apart neighbours are in the data, in numbers.
#[derive(Debug, PartialEq, Eq)]
struct Layout {
    height: usize,
    width: usize,
    bands: usize,
    row: usize,
    column: usize,
    band: usize,
}

impl Layout {
    /// Bands are last, unless only the first size is the number of channels asked for; one band can become three
    /// channels.
    fn of(header: &Header, channels: usize) -> Result<Self> {
        let shape = &header.shape;
        let bands_are = |wanted| match shape[..] {
            [_, _, bands] if bands == wanted => Some([0, 1, 2]),
            [bands, _, _] if bands == wanted => Some([1, 2, 0]),
            _ => None,
        };
        let grey = channels == 1 || channels == 3;
        let axes = match shape.len() {
            2 if grey => Some([0, 1, 2]),
            3 => bands_are(channels).or_else(|| if grey { bands_are(1) } else { None }),
            _ => None,
        };
        let [height, width, band] = axes.ok_or_else(|| {
            error(format!(
                "its shape {shape:?} is none of [height, width], [height, width, bands] and \
                 [bands, height, width] with {channels} bands"
            ))
        })?;
        let size = |axis: usize| shape.get(axis).copied().unwrap_or(1);
        // Products that overflow belong to more data than there can be: that is checked before they are used.
        let before =
            |axis: usize| shape.iter().take(axis).fold(1_usize, |all, &n| all.wrapping_mul(n));
        let after =
            |axis: usize| shape.iter().skip(axis + 1).fold(1_usize, |all, &n| all.wrapping_mul(n));
        let step = |axis: usize| if header.fortran { before(axis) } else { after(axis) };
        Ok(Self {
            height: size(height),
            width: size(width),
            bands: size(band),
            row: step(height),
            column: step(width),
            band: step(band),
        })
    }

    /// The places of the numbers in the order of rows, columns, bands.
    fn places(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.height).flat_map(move |y| {
            (0..self.width).flat_map(move |x| {
                let pixel = y * self.row + x * self.column;
                (0..self.bands).map(move |band| pixel + band * self.band)
            })
        })
    }
}

/// One number of the data.
#[derive(Clone, Copy)]
struct Element {
    kind: char,
    size: usize,
    big_endian: bool,
}

impl Element {
    fn of(descr: &str) -> Result<Self> {
        let unknown = || {
            error(format!(
                "its type {descr:?} is not read (u1, u2, u4, i1, i2, i4, f2, f4, f8 and b1 are)"
            ))
        };
        let mut letters = descr.chars();
        let big_endian = match letters.next() {
            Some('<' | '|' | '=') => false,
            Some('>') => true,
            _ => return Err(unknown()),
        };
        let (kind, size) = match letters.as_str() {
            "u1" => ('u', 1),
            "u2" => ('u', 2),
            "u4" => ('u', 4),
            "i1" => ('i', 1),
            "i2" => ('i', 2),
            "i4" => ('i', 4),
            "f2" => ('f', 2),
            "f4" => ('f', 4),
            "f8" => ('f', 8),
            "b1" => ('b', 1),
            _ => return Err(unknown()),
        };
        Ok(Self { kind, size, big_endian })
    }

    /// All numbers in the order of rows, columns, bands. `data` holds as many as the layout has.
    fn samples(self, data: &[u8], layout: &Layout) -> Samples {
        let floats = |float: fn([u8; 8]) -> f32| {
            Samples::F32(layout.places().map(|at| float(self.little_endian(data, at))).collect())
        };
        match (self.kind, self.size) {
            ('u', 1) => Samples::U8(layout.places().map(|at| data[at]).collect()),
            ('b', _) => {
                Samples::U8(layout.places().map(|at| 255 * u8::from(data[at] != 0)).collect())
            }
            ('u', 2) => Samples::U16(
                layout.places().map(|at| short(self.little_endian(data, at))).collect(),
            ),
            ('u', _) => floats(|b| word(b) as f32),
            ('i', 1) => floats(|b| f32::from(b[0] as i8)),
            ('i', 2) => floats(|b| f32::from(short(b) as i16)),
            ('i', _) => floats(|b| word(b) as i32 as f32),
            (_, 2) => floats(|b| f16::from_bits(short(b)).to_f32()),
            (_, 4) => floats(|b| f32::from_bits(word(b))),
            _ => floats(|b| f64::from_le_bytes(b) as f32),
        }
    }

    /// The bytes of a number, the lowest first, and zeros.
    fn little_endian(self, data: &[u8], index: usize) -> [u8; 8] {
        let mut bytes = [0; 8];
        let start = index * self.size;
        bytes[..self.size].copy_from_slice(&data[start..start + self.size]);
        if self.big_endian {
            bytes[..self.size].reverse();
        }
        bytes
    }
}

fn short(bytes: [u8; 8]) -> u16 {
    u16::from_le_bytes([bytes[0], bytes[1]])
}

fn word(bytes: [u8; 8]) -> u32 {
    u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

fn error(reason: String) -> Error {
    Error::Decode { format: FORMAT, reason }
}
