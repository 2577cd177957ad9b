//! What tars are read through, so that none can take more than its share.

use std::cell::Cell;
use std::io::{self, Read, Seek, SeekFrom};

/// Refuses to read more than is allowed at a time; what is skipped does not count.
pub(super) struct Metered<'a, R> {
    pub inner: R,
    /// How many bytes may still be read.
    pub allowance: &'a Cell<u64>,
}

impl<R: Read> Read for Metered<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.allowance.get();
        if left == 0 && !buffer.is_empty() {
            return Err(refused("an entry's headers are larger than any that are read"));
        }
        let most = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let read = self.inner.read(&mut buffer[..most])?;
        self.allowance.set(left.saturating_sub(read as u64));
        Ok(read)
    }
}

impl<R: Seek> Seek for Metered<'_, R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.inner.seek(to)
    }
}

/// The content of a compressed file, which must not be larger than a file of such a size can hold in images.
pub(super) struct Unpacked<R> {
    inner: R,
    count: u64,
    packed: u64,
}

impl<R: Read> Unpacked<R> {
    /// What `inner` unpacks out of `packed` bytes.
    pub fn new(inner: R, packed: u64) -> Self {
        Self { inner, count: 0, packed }
    }

    /// How many bytes have been read.
    pub fn count(&self) -> u64 {
        self.count
    }
}

impl<R: Read> Read for Unpacked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.count = self.count.saturating_add(read as u64);
        let (packed, limit) = (self.packed, most_unpacked(self.packed));
        match self.count > limit {
            true => Err(refused(format!(
                "its {packed} bytes unpack to more than {limit}, which images do not"
            ))),
            false => Ok(read),
        }
    }
}

impl<R: Read> Seek for Unpacked<R> {
    /// Forward from where it is only, which reads what lies between.
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let SeekFrom::Current(by) = to else { return Err(io::ErrorKind::Unsupported.into()) };
        let by = u64::try_from(by).map_err(|_| io::Error::from(io::ErrorKind::Unsupported))?;
        match io::copy(&mut self.by_ref().take(by), &mut io::sink())? {
            skipped if skipped == by => Ok(self.count),
            _ => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "unexpected end of the file")),
        }
    }
}

/// The most that a file of `packed` bytes may unpack to: images hardly get smaller, while gzip packs zeros a thousand
/// to one, which would fill a disk.
fn most_unpacked(packed: u64) -> u64 {
    packed.saturating_mul(50).saturating_add(64 << 20)
}

fn refused(reason: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::FileTooLarge, reason.into())
}
