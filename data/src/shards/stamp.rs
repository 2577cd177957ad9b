//! Files that must stay as they were.

use std::fs::{File, Metadata};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::error::{Error, Result};

/// A file's name, and what it was like when its index was made.
#[derive(Clone, Debug)]
pub(super) struct Stamped {
    pub path: PathBuf,
    pub len: u64,
    modified: Option<SystemTime>,
}

impl Stamped {
    /// Opens a file and remembers its length and time.
    pub fn open(path: &Path) -> Result<(Self, File)> {
        let io = |source| Error::Io { path: path.to_path_buf(), source };
        let file = File::open(path).map_err(io)?;
        let meta = file.metadata().map_err(io)?;
        if !meta.is_file() {
            return Err(Error::Shard { path: path.to_path_buf(), reason: "not a file".into() });
        }
        let modified = modified(&meta);
        Ok((Self { path: path.to_path_buf(), len: meta.len(), modified }, file))
    }

    /// Opens the file again; an error if it is not what it was.
    pub fn reopen(&self) -> Result<File> {
        let file = File::open(&self.path).map_err(|e| self.io(e))?;
        let meta = file.metadata().map_err(|e| self.io(e))?;
        match (meta.len(), modified(&meta)) == (self.len, self.modified) {
            true => Ok(file),
            false => Err(self.error("the file has changed since it was opened")),
        }
    }

    /// An error of the file's contents.
    pub fn error(&self, reason: impl Into<String>) -> Error {
        Error::Shard { path: self.path.clone(), reason: reason.into() }
    }

    /// An error of the file system.
    pub fn io(&self, source: std::io::Error) -> Error {
        Error::Io { path: self.path.clone(), source }
    }

    /// The file's name below a folder, with `/` on every system.
    pub fn name_below(&self, folder: &Path) -> String {
        let path = self.path.strip_prefix(folder).unwrap_or(&self.path);
        let parts = path.components().map(|part| part.as_os_str().to_string_lossy());
        parts.collect::<Vec<_>>().join("/")
    }
}

/// Not every file system knows the time.
fn modified(meta: &Metadata) -> Option<SystemTime> {
    meta.modified().ok()
}
