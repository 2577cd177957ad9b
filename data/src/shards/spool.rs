//! Unpacked data in a temporary file.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;

use crate::error::Error;

/// A temporary file that has no name and vanishes with its last user; it lies in `TMPDIR`.
#[derive(Debug)]
pub(super) struct Spool {
    file: Mutex<File>,
    len: u64,
}

impl Spool {
    /// A file of what `fill` writes.
    pub fn write<E: From<io::Error>>(
        fill: impl FnOnce(&mut dyn Write) -> Result<(), E>,
    ) -> Result<Self, E> {
        let mut writer = io::BufWriter::with_capacity(1 << 18, tempfile::tempfile()?);
        fill(&mut writer)?;
        let mut file = writer.into_inner().map_err(|e| E::from(e.into_error()))?;
        let len = file.stream_position()?;
        Ok(Self { file: Mutex::new(file), len })
    }

    /// A part of it; an error if it is not all there, before anything is allocated.
    pub fn read(&self, offset: u64, len: usize) -> io::Result<Bytes> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        read_at(&mut file, self.len, offset, len)
    }
}

/// An error of a temporary file.
pub(super) fn temporary(source: io::Error) -> Error {
    Error::Io { path: std::env::temp_dir(), source }
}

/// `len` bytes from `offset` on of a file that has `file_len`.
pub(super) fn read_at(
    file: &mut File,
    file_len: u64,
    offset: u64,
    len: usize,
) -> io::Result<Bytes> {
    if offset.checked_add(len as u64).is_none_or(|end| end > file_len) {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    file.seek(SeekFrom::Start(offset))?;
    let mut bytes = Vec::with_capacity(len);
    file.take(len as u64).read_to_end(&mut bytes)?;
    if bytes.len() < len {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(bytes.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let spool = Spool::write(|file| file.write_all(b"0123456789")).unwrap();
        assert_eq!(&spool.read(3, 4).unwrap()[..], b"3456");
        assert_eq!(&spool.read(10, 0).unwrap()[..], b"");
        assert!(spool.read(8, 3).is_err() && spool.read(u64::MAX, 2).is_err());
    }
}
