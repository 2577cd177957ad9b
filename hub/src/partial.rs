//! A file on its way: `ETAG.incomplete` beside the blobs.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::{Error, Result, cache};

/// A file being received, with the hash of what it holds so far.
pub(crate) struct Partial {
    path: PathBuf,
    file: File,
    done: u64,
    hash: Sha256,
}

impl Partial {
    /// Goes on with what an earlier download left beside the blob, if `keep` and it is not longer than the file; else
    /// starts an empty one.
    pub(crate) fn open(blob: &Path, keep: bool, size: Option<u64>) -> Result<Self> {
        cache::make_parent(blob)?;
        let mut name = blob.file_name().unwrap_or_default().to_owned();
        name.push(".incomplete");
        let path = blob.with_file_name(name);
        let file = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .map_err(Error::io("open", &path))?;
        let mut partial = Self { path, file, done: 0, hash: Sha256::new() };
        if keep {
            partial.read_what_is_there()?;
        }
        if !keep || size.is_some_and(|size| partial.done > size) {
            partial.restart()?;
        }
        Ok(partial)
    }

    fn read_what_is_there(&mut self) -> Result<()> {
        let mut buffer = vec![0; 1 << 16];
        loop {
            let read = self.file.read(&mut buffer).map_err(Error::io("read", &self.path))?;
            if read == 0 {
                return Ok(());
            }
            self.hash.update(&buffer[..read]);
            self.done += read as u64;
        }
    }

    /// Bytes so far.
    pub(crate) fn done(&self) -> u64 {
        self.done
    }

    /// Forgets everything.
    pub(crate) fn restart(&mut self) -> Result<()> {
        let emptied = self.file.set_len(0).and_then(|()| self.file.seek(SeekFrom::Start(0)));
        emptied.map_err(Error::io("empty", &self.path))?;
        (self.done, self.hash) = (0, Sha256::new());
        Ok(())
    }

    /// Appends.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(Error::io("write", &self.path))?;
        self.hash.update(bytes);
        self.done += bytes.len() as u64;
        Ok(())
    }

    /// The SHA-256 so far, in hexadecimal digits.
    pub(crate) fn sha256(&self) -> String {
        self.hash.clone().finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Gives the file its final name, once it is safely on the disk.
    pub(crate) fn finish(self, blob: &Path) -> Result<()> {
        self.file.sync_all().map_err(Error::io("write", &self.path))?;
        drop(self.file);
        fs::rename(&self.path, blob).map_err(Error::io("rename into place", blob))
    }

    /// Deletes the file.
    pub(crate) fn discard(self) -> Result<()> {
        fs::remove_file(&self.path).map_err(Error::io("delete", &self.path))
    }
}
