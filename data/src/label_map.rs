//! Images that give a class to each pixel.

use std::fmt;

use bytes::Bytes;

use crate::decode::{DecodeOptions, decode_labels};
use crate::error::Result;
use crate::image::Image;

/// A class for each pixel of an image, decoded when it is asked for.
#[derive(Clone, PartialEq)]
pub struct LabelMap {
    bytes: Bytes,
    max_pixels: u64,
}

impl LabelMap {
    /// A label map of a PNG file's bytes; `options` say how many pixels it may claim.
    pub fn encoded(bytes: impl Into<Bytes>, options: &DecodeOptions) -> Self {
        Self { bytes: bytes.into(), max_pixels: options.max_pixels }
    }

    /// Decodes the map: one channel of bytes, see [`decode_labels`].
    ///
    /// # Errors
    /// See [`decode_labels`].
    pub fn decode(&self) -> Result<Image> {
        decode_labels(&self.bytes, self.max_pixels)
    }
}

impl fmt::Debug for LabelMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LabelMap({} bytes)", self.bytes.len())
    }
}
