//! Images that give a class to each pixel.

use std::fmt;
use std::path::PathBuf;

use bytes::Bytes;

use crate::decode::{DecodeOptions, decode_labels};
use crate::error::{Error, Result};
use crate::image::Image;

/// A class for each pixel of an image, decoded when it is asked for.
#[derive(Clone, PartialEq)]
pub struct LabelMap {
    stored: Stored,
    max_pixels: u64,
}

/// Where the PNG file is.
#[derive(Clone, PartialEq)]
enum Stored {
    Bytes(Bytes),
    File(PathBuf),
}

impl LabelMap {
    /// A label map of a PNG file's bytes; `options` say how many pixels it may claim.
    pub fn encoded(bytes: impl Into<Bytes>, options: &DecodeOptions) -> Self {
        Self { stored: Stored::Bytes(bytes.into()), max_pixels: options.max_pixels }
    }

    /// A label map in a PNG file, which is not read before it is decoded.
    pub fn file(path: impl Into<PathBuf>, options: &DecodeOptions) -> Self {
        Self { stored: Stored::File(path.into()), max_pixels: options.max_pixels }
    }

    /// Decodes the map: one channel of bytes, see [`decode_labels`].
    ///
    /// # Errors
    /// See [`decode_labels`]; [`Error::Io`] if the file cannot be read. Those of a file are in [`Error::Sample`], which
    /// names it.
    pub fn decode(&self) -> Result<Image> {
        match &self.stored {
            Stored::Bytes(bytes) => decode_labels(bytes, self.max_pixels),
            Stored::File(path) => std::fs::read(path)
                .map_err(|source| Error::Io { path: path.clone(), source })
                .and_then(|bytes| decode_labels(&bytes, self.max_pixels))
                .map_err(|e| e.of_sample(path.display().to_string())),
        }
    }
}

impl fmt::Debug for LabelMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.stored {
            Stored::Bytes(bytes) => write!(f, "LabelMap({} bytes)", bytes.len()),
            Stored::File(path) => write!(f, "LabelMap({})", path.display()),
        }
    }
}
