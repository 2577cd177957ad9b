use std::path::PathBuf;

/// What can go wrong while a report is made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A slice does not have the length that the sizes given beside it ask for.
    #[error("{what}: expected {expected} values, found {found}")]
    Length {
        /// Which slice.
        what: &'static str,
        /// The length it should have.
        expected: usize,
        /// The length it has.
        found: usize,
    },

    /// Sizes that contradict each other, or are zero where they cannot be.
    #[error("{0}")]
    Shape(String),

    /// The chart could not be drawn.
    #[error("drawing the chart: {0}")]
    Draw(String),

    /// The picture could not be encoded.
    #[error("encoding a PNG of {width} x {height} pixels: {source}")]
    Encode {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
        /// Why.
        source: image::ImageError,
    },

    /// A file could not be written.
    #[error("writing {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// `Ok` if `values` has the length it should have.
pub(crate) fn check_length<T>(what: &'static str, values: &[T], expected: usize) -> Result<()> {
    if values.len() == expected {
        Ok(())
    } else {
        Err(Error::Length { what, expected, found: values.len() })
    }
}
