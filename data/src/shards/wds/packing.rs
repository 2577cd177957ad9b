//! How a tar is compressed.

use std::fs::File;
use std::io::{BufReader, Read, Seek};

use flate2::bufread::MultiGzDecoder;

use crate::error::Result;
use crate::shards::spool::{Spool, temporary};
use crate::shards::stamp::Stamped;

/// How a tar is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packing {
    /// Not at all.
    Plain,
    /// By gzip; how many bytes there are inside.
    Gzip { unpacked: u64 },
}

impl Packing {
    /// Tells it by the file's first bytes; the file is left at its start.
    pub fn of(file: &Stamped, mut handle: &File) -> Result<Self> {
        let mut start = Vec::new();
        handle.take(6).read_to_end(&mut start).map_err(|e| file.io(e))?;
        handle.rewind().map_err(|e| file.io(e))?;
        let other = match start[..] {
            [] => return Err(file.error("the file is empty")),
            [0x1f, 0x8b, ..] => return Ok(Self::Gzip { unpacked: 0 }),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => "zstd",
            [0xfd, b'7', b'z', b'X', b'Z', ..] => "xz",
            // A tar begins with a name, which may well be `BZh`.
            [b'B', b'Z', b'h', _, 0x31, 0x41, ..] => "bzip2",
            _ => return Ok(Self::Plain),
        };
        Err(file.error(format!("compressed by {other}; tars are read plain or compressed by gzip")))
    }
}

/// The content of a gzip file of one or more members.
pub(super) fn gunzip(handle: File) -> MultiGzDecoder<BufReader<File>> {
    MultiGzDecoder::new(BufReader::with_capacity(1 << 16, handle))
}

/// Unpacks a file that must have `unpacked` bytes inside.
pub(super) fn unpack(file: &Stamped, unpacked: u64) -> Result<Spool> {
    let mut reader = gunzip(file.reopen()?);
    let mut copied = 0;
    let spool = Spool::write(|writer| {
        copied = std::io::copy(&mut (&mut reader).take(unpacked.saturating_add(1)), writer)?;
        Ok::<_, std::io::Error>(())
    });
    let spool = spool.map_err(|source| match source.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => temporary(source),
        _ => file
            .error(format!("cannot unpack it into {}: {source}", std::env::temp_dir().display())),
    })?;
    match copied == unpacked {
        true => Ok(spool),
        false => Err(file.error("the file has changed since it was opened")),
    }
}
