//! What is pushed: files of this disk and bytes, with their hashes.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;

use sha1::Sha1;
use sha2::{Digest, Sha256};

use crate::{Error, Progress, Result};

/// Bytes from a file's beginning by which the Hub decides how it is kept.
const SAMPLE: u64 = 512;
/// Bytes read at once, and between two reports.
const PIECE: usize = 1 << 17;

/// A file to push: its name in the repository and its contents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upload {
    path: String,
    content: Content,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Content {
    File(PathBuf),
    Bytes(Vec<u8>),
}

impl Upload {
    /// A file of this disk, called `path` in the repository.
    pub fn file(path: impl Into<String>, file: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), content: Content::File(file.into()) }
    }

    /// Bytes, called `path` in the repository.
    pub fn bytes(path: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        Self { path: path.into(), content: Content::Bytes(bytes.into()) }
    }

    /// Its name in the repository.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Its size in bytes.
    ///
    /// # Errors
    /// [`Error::Io`] for a file that is not there.
    pub fn size(&self) -> Result<u64> {
        match &self.content {
            Content::Bytes(bytes) => Ok(bytes.len() as u64),
            Content::File(file) => {
                let found = file.metadata().map_err(Error::io("read", file))?;
                if !found.is_file() {
                    return Err(Error::io("read", file)(io::Error::other("it is no file")));
                }
                Ok(found.len())
            }
        }
    }

    fn open(&self) -> Result<Box<dyn ReadSeek + '_>> {
        Ok(match &self.content {
            Content::Bytes(bytes) => Box::new(io::Cursor::new(bytes)),
            Content::File(file) => Box::new(File::open(file).map_err(Error::io("read", file))?),
        })
    }

    fn failed(&self, error: io::Error) -> Error {
        let name = match &self.content {
            Content::Bytes(_) => PathBuf::from(&self.path),
            Content::File(file) => file.clone(),
        };
        Error::io("read", name)(error)
    }
}

trait ReadSeek: Read + Seek {}
impl<T: Read + Seek> ReadSeek for T {}

/// An upload with what the Hub wants to know of it first.
pub(crate) struct Hashed<'a> {
    pub(crate) upload: &'a Upload,
    pub(crate) size: u64,
    pub(crate) sample: Vec<u8>,
    pub(crate) sha256: String,
    /// The name that git gives the contents.
    git: String,
}

impl<'a> Hashed<'a> {
    /// Reads the contents once.
    pub(crate) fn new(upload: &'a Upload) -> Result<Self> {
        let size = upload.size()?;
        let mut reader = upload.open()?.take(size);
        let mut sample = Vec::new();
        let (mut sha256, mut git) = (Sha256::new(), Sha1::new());
        git.update(format!("blob {size}\0"));
        let mut buffer = vec![0; PIECE];
        let mut done = 0;
        loop {
            let read = reader.read(&mut buffer).map_err(|error| upload.failed(error))?;
            if read == 0 {
                break;
            }
            let piece = &buffer[..read];
            let wanted = SAMPLE.saturating_sub(done) as usize;
            sample.extend_from_slice(&piece[..wanted.min(read)]);
            sha256.update(piece);
            git.update(piece);
            done += read as u64;
        }
        if done < size {
            return Err(upload.failed(io::Error::other(format!("it shrank from {size} bytes"))));
        }
        let (sha256, git) = (hex(&sha256.finalize()), hex(&git.finalize()));
        Ok(Self { upload, size, sample, sha256, git })
    }

    pub(crate) fn path(&self) -> &str {
        &self.upload.path
    }

    /// Whether contents that the Hub has under this name are these.
    pub(crate) fn is(&self, oid: &str) -> bool {
        oid == self.sha256 || oid == self.git
    }

    /// All of it.
    pub(crate) fn read(&self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut reader = self.upload.open()?.take(self.size);
        reader.read_to_end(&mut bytes).map_err(|error| self.upload.failed(error))?;
        Ok(bytes)
    }
}

/// Why a part could not be read while it was being sent; its reader can only tell of that in words.
pub(crate) type Failure = RefCell<Option<Error>>;

/// A part of an upload, told of as it is read.
pub(crate) struct Part<'a> {
    file: &'a Hashed<'a>,
    reader: Box<dyn ReadSeek + 'a>,
    done: u64,
    left: u64,
    progress: &'a dyn Fn(Progress<'_>),
    failure: &'a Failure,
}

impl<'a> Part<'a> {
    /// `length` bytes from `start` on.
    pub(crate) fn open(
        file: &'a Hashed<'a>,
        start: u64,
        length: u64,
        progress: &'a dyn Fn(Progress<'_>),
        failure: &'a Failure,
    ) -> Result<Self> {
        let mut reader = file.upload.open()?;
        reader.seek(SeekFrom::Start(start)).map_err(|error| file.upload.failed(error))?;
        let part = Self { file, reader, done: start, left: length, progress, failure };
        part.report();
        Ok(part)
    }

    fn report(&self) {
        let (path, total) = (self.file.path(), Some(self.file.size));
        (self.progress)(Progress { path, done: self.done, total });
    }
}

impl Read for Part<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = self.left.min(buffer.len() as u64) as usize;
        if most == 0 {
            return Ok(0);
        }
        let read = match self.reader.read(&mut buffer[..most]) {
            Ok(0) => Err(io::Error::other("it shrank while it was uploaded")),
            read => read,
        };
        match read {
            Ok(read) => {
                self.done += read as u64;
                self.left -= read as u64;
                self.report();
                Ok(read)
            }
            Err(error) => {
                let told = io::Error::other(error.to_string());
                *self.failure.borrow_mut() = Some(self.file.upload.failed(error));
                Err(told)
            }
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_git_and_lfs() {
        let upload = Upload::bytes("a", "hello\n");
        let hashed = Hashed::new(&upload).unwrap();
        // `git hash-object` and `sha256sum`.
        assert!(hashed.is("ce013625030ba8dba906f756967f9e9ca394464a"));
        assert!(hashed.is("5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"));
        assert!(!hashed.is(""));
        assert_eq!((hashed.size, hashed.sample.as_slice()), (6, &b"hello\n"[..]));
    }

    #[test]
    fn the_sample_is_the_beginning() {
        let bytes: Vec<u8> = (0..300_000u32).map(|i| i as u8).collect();
        let upload = Upload::bytes("a", bytes.clone());
        let hashed = Hashed::new(&upload).unwrap();
        assert_eq!(hashed.sample, bytes[..512]);
        assert_eq!(hashed.read().unwrap(), bytes);
    }

    #[test]
    fn a_file_that_shrinks_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weights");
        std::fs::write(&path, [7; 100]).unwrap();
        let upload = Upload::file("a", &path);
        let hashed = Hashed::new(&upload).unwrap();
        std::fs::write(&path, [7; 50]).unwrap();
        let failure = Failure::default();
        let mut part = Part::open(&hashed, 0, 100, &|_| {}, &failure).unwrap();
        assert!(part.read_to_end(&mut Vec::new()).is_err());
        let error = failure.take().unwrap();
        assert!(!error.is_passing() && error.to_string().contains("weights"), "{error}");
    }

    #[test]
    fn what_is_no_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        for path in [folder.path().to_owned(), folder.path().join("absent")] {
            let error = Upload::file("a", &path).size().unwrap_err().to_string();
            assert!(error.contains(path.to_str().unwrap()), "{error}");
        }
    }
}
