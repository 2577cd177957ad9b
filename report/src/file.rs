//! Files that are either the old one or the new one, never half of it.

use std::ffi::OsString;
use std::fs;
use std::io::Cursor;
use std::path::Path;

use image::{ImageFormat, RgbImage};

use crate::{Error, Result};

/// Writes `bytes` to `path` through a temporary file beside it and a rename, so that whoever
/// looks at `path` meanwhile (a browser that reloads `loss.svg`) never sees half a file.
///
/// # Errors
///
/// [`Error::Write`] if the folder is missing or cannot be written; the old file is then untouched.
pub fn write_atomic(path: impl AsRef<Path>, bytes: &[u8]) -> Result<()> {
    let path = path.as_ref();
    let failed = |source| Error::Write { path: path.to_owned(), source };
    let Some(name) = path.file_name() else {
        return Err(failed(std::io::ErrorKind::InvalidInput.into()));
    };
    let mut hidden = OsString::from(".tmp-");
    hidden.push(name);
    hidden.push(format!("-{}", std::process::id()));
    let temporary = path.with_file_name(hidden);

    fs::write(&temporary, bytes).and_then(|()| fs::rename(&temporary, path)).map_err(|source| {
        // The first error is the one to report; there may be nothing to remove.
        let _ = fs::remove_file(&temporary);
        failed(source)
    })
}

/// The bytes of `picture` as a PNG file.
///
/// # Errors
///
/// [`Error::Encode`], for example for a picture without pixels.
pub fn encode_png(picture: &RgbImage) -> Result<Vec<u8>> {
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, ImageFormat::Png).map_err(|source| Error::Encode {
        width: picture.width(),
        height: picture.height(),
        source,
    })?;
    Ok(bytes.into_inner())
}

/// Writes `picture` as a PNG file, [atomically](write_atomic).
///
/// # Errors
///
/// [`Error::Encode`] or [`Error::Write`].
pub fn write_png(path: impl AsRef<Path>, picture: &RgbImage) -> Result<()> {
    write_atomic(path, &encode_png(picture)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_reads_back_and_leaves_nothing_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("picture.png");
        let picture = RgbImage::from_fn(5, 3, |x, y| image::Rgb([x as u8, y as u8, 7]));
        write_png(&path, &RgbImage::new(1, 1)).unwrap();
        write_png(&path, &picture).unwrap();
        assert_eq!(image::open(&path).unwrap().into_rgb8(), picture);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_failed_write_names_the_file_and_cleans_up() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("missing").join("loss.svg");
        let message = write_atomic(&missing, b"x").unwrap_err().to_string();
        assert!(message.contains("loss.svg"), "{message}");

        // A folder is in the way: the rename fails after the temporary file was written.
        let occupied = dir.path().join("occupied");
        fs::create_dir_all(occupied.join("inside")).unwrap();
        assert!(write_atomic(&occupied, b"x").is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_picture_without_pixels_is_an_error_or_a_file_but_never_a_panic() {
        assert!(matches!(encode_png(&RgbImage::new(0, 4)), Err(Error::Encode { .. })));
    }
}
