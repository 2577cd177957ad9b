//! JPEG.

use ::image::metadata::Orientation;
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::bitmap::{Bitmap, Colour, Samples, ycc_to_rgb};
use super::{DecodeOptions, Header, check_size, jpeg_end};
use crate::error::{Error, Result};

const FORMAT: &str = "JPEG";

/// A file of which the header has been read and found good.
pub(super) struct Jpeg<'a> {
    bytes: &'a [u8],
    decoder: JpegDecoder<ZCursor<&'a [u8]>>,
    pub width: usize,
    pub height: usize,
    stored: ColorSpace,
    pub orientation: Orientation,
}

/// Cameras and editors leave oddities in headers that no decoder minds: strictness starts with the pixels.
fn lenient() -> DecoderOptions {
    DecoderOptions::default().set_max_width(65_535).set_max_height(65_535).set_strict_mode(false)
}

impl<'a> Jpeg<'a> {
    /// Reads the header.
    pub fn open(bytes: &'a [u8], options: &DecodeOptions) -> Result<Self> {
        let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), lenient());
        decoder.decode_headers().map_err(|e| failure(bytes, &e))?;
        let (width, height) = decoder.dimensions().ok_or_else(|| error("it has no size"))?;
        check_size(width, height, options)?;
        let stored = decoder.input_colorspace().ok_or_else(|| error("it has no colour space"))?;
        let orientation = decoder.exif().and_then(|exif| Orientation::from_exif_chunk(exif));
        let orientation = orientation.unwrap_or(Orientation::NoTransforms);
        Ok(Self { bytes, decoder, width, height, stored, orientation })
    }

    pub fn header(&self) -> Header {
        let (width, height, orientation) = (self.width, self.height, self.orientation);
        Header { format: FORMAT, width, height, bands: self.stored.num_components(), orientation }
    }

    /// An error if the file lacks its end.
    fn check_end(&self) -> Result<()> {
        match jpeg_end::has_end(self.bytes) {
            true => Ok(()),
            false => Err(Error::Truncated { format: FORMAT }),
        }
    }

    /// Decodes the whole picture.
    pub fn decode(mut self) -> Result<Bitmap> {
        self.check_end()?;
        let (width, height, orientation) = (self.width, self.height, self.orientation);
        #[cfg(feature = "libjpeg-turbo")]
        if let Some(part) = self.turbo(self.whole(), None) {
            return Ok(part.bitmap);
        }
        let (wanted, colour) = match self.stored {
            ColorSpace::Luma => (ColorSpace::Luma, Colour::Grey),
            ColorSpace::YCbCr | ColorSpace::RGB => (ColorSpace::RGB, Colour::Rgb),
            ColorSpace::CMYK | ColorSpace::YCCK => (self.stored, Colour::Cmyk),
            other => return Err(error(&format!("colour space {other:?} is not supported"))),
        };
        self.decoder.set_options(lenient().set_strict_mode(true).jpeg_set_out_colorspace(wanted));
        let mut samples = self.decoder.decode().map_err(|e| failure(self.bytes, &e))?;
        match self.stored {
            ColorSpace::YCCK => samples.chunks_exact_mut(4).for_each(ycck_to_cmyk),
            // Every CMYK JPEG is taken for Adobe's, which stores the inks inverted, as Pillow does.
            ColorSpace::CMYK => samples.iter_mut().for_each(|v| *v = 255 - *v),
            _ => {}
        }
        Ok(Bitmap { width, height, colour, samples: Samples::U8(samples), orientation })
    }
}

#[cfg(feature = "libjpeg-turbo")]
mod part {
    use super::*;
    use crate::decode::turbo;
    use crate::transform::{CropBox, Size};

    /// A part of a picture, as stored.
    pub(in crate::decode) struct Part {
        pub bitmap: Bitmap,
        /// Where the part lies in the whole.
        pub area: CropBox,
        /// Rows and columns of the whole, which may have been made smaller.
        pub whole: Size,
        /// Its size in eighths of the stored one's.
        pub eighths: usize,
    }

    impl Jpeg<'_> {
        pub(super) fn whole(&self) -> CropBox {
            CropBox { top: 0, left: 0, height: self.height, width: self.width }
        }

        /// Decodes a part that holds `area`, of the stored picture; `None` if the whole must be decoded.
        pub(in crate::decode) fn part(
            &self,
            area: CropBox,
            at_least: Option<Size>,
        ) -> Result<Option<Part>> {
            self.check_end()?;
            Ok(self.turbo(area, at_least))
        }

        pub(super) fn turbo(&self, area: CropBox, at_least: Option<Size>) -> Option<Part> {
            let grey = match self.stored {
                ColorSpace::Luma => true,
                ColorSpace::YCbCr | ColorSpace::RGB => false,
                _ => return None,
            };
            let size = Size { height: self.height, width: self.width };
            let mut decoded = turbo::decode(self.bytes, size, area, grey, at_least)?;
            let bitmap = Bitmap {
                width: decoded.area.width,
                height: decoded.area.height,
                colour: if grey { Colour::Grey } else { Colour::Rgb },
                samples: Samples::U8(std::mem::take(&mut decoded.samples)),
                orientation: self.orientation,
            };
            let turbo::Decoded { area, whole, eighths, .. } = decoded;
            Some(Part { bitmap, area, whole, eighths })
        }
    }
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
