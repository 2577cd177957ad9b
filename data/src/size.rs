//! Rows and columns, and how many of them there may be.

use crate::error::{Error, Result};

/// The most pixels an image may claim by default: where Pillow stops with a `DecompressionBombError`.
pub const MAX_PIXELS: u64 = 178_956_970;

/// Rows and columns of a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

impl Size {
    /// A size that need not be square.
    ///
    /// # Errors
    /// [`Error::Setting`] if a side is zero.
    pub fn new(height: usize, width: usize) -> Result<Self> {
        if height == 0 || width == 0 {
            return Err(Error::Setting {
                name: "image size",
                found: format!("{height} x {width}"),
                expected: "both sides must be at least 1".into(),
            });
        }
        Ok(Self { height, width })
    }

    /// As many rows as columns.
    ///
    /// # Errors
    /// [`Error::Setting`] if the side is zero.
    pub fn square(side: usize) -> Result<Self> {
        Self::new(side, side)
    }
}
