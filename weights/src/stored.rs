//! A file of tensors as a table: where each lies, of which type and shape, whatever container holds them.

mod gather;
mod safetensors;

use crate::{Error, Layout, Metadata, Result, pth, sniff};
use candle_core::DType;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// What holds the tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Safetensors: a JSON header, then the numbers.
    Safetensors,
    /// PyTorch's `.pth`: a zip archive or the older stream, with a pickle that says where the numbers lie.
    Pth,
}

/// Where one tensor lies in its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredTensor {
    pub(crate) dtype: DType,
    pub(crate) shape: Vec<usize>,
    /// The first number's first byte in the file.
    pub(crate) offset: u64,
    /// Numbers from one index to the next, a dimension each; none if they lie row after row without gaps.
    pub(crate) strides: Option<Vec<usize>>,
}

impl StoredTensor {
    /// The type of its numbers in the file.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Its shape.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }
}

/// A file opened for reading: the table of its tensors, whatever their names are; numbers are read when asked for.
///
/// The file stays open, and replacing it by renaming another over it does not disturb reading. Reads name their place,
/// so that several threads can read at once.
#[derive(Debug)]
pub struct StoredFile {
    path: PathBuf,
    file: File,
    /// In bytes, when it was opened.
    length: u64,
    format: Format,
    tensors: BTreeMap<String, StoredTensor>,
    metadata: Option<Metadata>,
    layout: Option<Layout>,
    notes: Vec<String>,
}

/// What a container's reader finds.
pub(crate) struct Contents {
    pub format: Format,
    pub tensors: BTreeMap<String, StoredTensor>,
    pub metadata: Option<Metadata>,
    /// The layout that the file says it has.
    pub layout: Option<Layout>,
    /// What was chosen or left out, for the user.
    pub notes: Vec<String>,
}

impl StoredFile {
    /// Opens the file and checks all of it but the numbers: length, names, shapes, offsets, types, metadata. The format
    /// is told from the first bytes, not from the name.
    ///
    /// A PyTorch file's table is that of its state dict: the one dict of tensors under `model`, `state_dict`,
    /// `model_state_dict`, `model_state`, `module`, `net`, `network`, `model_ema`, `state_dict_ema`, `ema`, `teacher` or
    /// `student`, or the top level if none of these is one. What else is pickled beside it is left alone; no code of a
    /// pickle is ever run.
    ///
    /// If all names begin with `module.`, as of a model wrapped for data parallelism, that is cut off, and said in
    /// [`Self::notes`].
    ///
    /// # Errors
    /// One for each way in which a file holds no table of tensors, see [`Error`]; [`Error::SeveralStateDicts`] if a
    /// PyTorch file has more than one of them.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_at(path.as_ref(), None)
    }

    /// Opens a PyTorch file that holds several state dicts: the one under the key `part` of its top level.
    ///
    /// # Errors
    /// As [`Self::open`]; [`Error::NoStateDict`] if there is none under that key.
    pub fn open_part(path: impl AsRef<Path>, part: &str) -> Result<Self> {
        Self::open_at(path.as_ref(), Some(part))
    }

    fn open_at(path: &Path, part: Option<&str>) -> Result<Self> {
        let path = path.to_owned();
        let (file, length) = open_file(&path)?;
        let source = Source { path: &path, file: &file, length };
        let start = source.read(0, length.min(sniff::SNIFF_LEN))?;
        let Contents { format, mut tensors, metadata, layout, mut notes } =
            contents(source, &start, part)?;
        if cut_prefix(&mut tensors, "module.") {
            notes.push(
                "cut `module.` off all names: the model was wrapped for data parallelism"
                    .to_owned(),
            );
        }
        tracing::debug!(path = %path.display(), ?format, bytes = length, ?notes, "opened checkpoint");
        Ok(Self { path, file, length, format, tensors, metadata, layout, notes })
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What holds the tensors.
    pub fn format(&self) -> Format {
        self.format
    }

    /// What the file says about itself; none if longmae did not write it.
    pub fn metadata(&self) -> Option<&Metadata> {
        self.metadata.as_ref()
    }

    /// The layout in which longmae wrote the file, if it says so; see [`Checkpoint::layout`](crate::Checkpoint::layout).
    pub(crate) fn layout(&self) -> Option<Layout> {
        self.layout
    }

    /// What was chosen, cut off or left out when the file was opened, in sentences without a full stop.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The tensors' names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// A tensor's place, if there is one of that name.
    pub fn get(&self, name: &str) -> Option<&StoredTensor> {
        self.tensors.get(name)
    }

    /// The shape of a tensor, if there is one of that name.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.get(name).map(StoredTensor::shape)
    }

    /// The type of a tensor's numbers in the file, if there is one of that name.
    pub fn dtype(&self, name: &str) -> Option<DType> {
        self.get(name).map(StoredTensor::dtype)
    }

    /// The numbers of one of this file's tensors: row after row, little-endian.
    ///
    /// # Errors
    /// [`Error::Io`] if the disk refuses, or the file was shortened after it was opened.
    pub fn read(&self, tensor: &StoredTensor) -> Result<Vec<u8>> {
        // Places were checked against the file's length when it was opened, so no more is allocated than the file has.
        gather::read(&self.file, tensor).map_err(|e| cannot("read", &self.path, e))
    }

    /// Some rows of one of this file's tensors, into as many bytes as they have.
    pub(crate) fn read_rows(
        &self,
        tensor: &StoredTensor,
        rows: Range<usize>,
        bytes: &mut [u8],
    ) -> Result<()> {
        gather::read_rows(&self.file, tensor, rows, bytes)
            .map_err(|e| cannot("read", &self.path, e))
    }

    /// Whether the file still has all of its bytes, since others may have written into it.
    pub(crate) fn check_whole(&self) -> Result<()> {
        let found = self.file.metadata().map_err(|e| cannot("read", &self.path, e))?.len();
        let (path, expected) = (self.path.clone(), self.length);
        match found.cmp(&expected) {
            Ordering::Less => Err(Error::Truncated { path, found, expected }),
            Ordering::Greater => Err(Error::TrailingBytes { path, found, expected }),
            Ordering::Equal => Ok(()),
        }
    }
}

/// An open file, for the containers' readers.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a> {
    pub path: &'a Path,
    pub file: &'a File,
    pub length: u64,
}

impl Source<'_> {
    /// `length` bytes from `start`, which the caller has checked to lie in the file.
    pub fn read(&self, start: u64, length: u64) -> Result<Vec<u8>> {
        let mut bytes = vec![0; length as usize];
        read_exact_at(self.file, &mut bytes, start).map_err(|e| cannot("read", self.path, e))?;
        Ok(bytes)
    }
}

/// Reads the table as the format wants it that the first bytes are of.
fn contents(source: Source<'_>, start: &[u8], part: Option<&str>) -> Result<Contents> {
    let path = || source.path.to_owned();
    // The length of a safetensors header can look like the beginning of a pickle, whose ninth byte would be another.
    if start.get(8) == Some(&b'{') && !pth::is_zip(start) {
        let reason =
            |part| format!("under `{part}`: it is a safetensors file, which has one table");
        match part {
            None => safetensors::read(source),
            Some(part) => Err(Error::NoStateDict { path: path(), reason: reason(part) }),
        }
    } else if pth::is_zip(start) || pth::is_pickle(start) {
        pth::read(source, start, part)
    } else {
        Err(Error::UnknownFormat { path: path(), found: sniff::describe(start) })
    }
}

/// Cuts `prefix` off the names if all have it; says whether.
fn cut_prefix(tensors: &mut BTreeMap<String, StoredTensor>, prefix: &str) -> bool {
    let cut = !tensors.is_empty() && tensors.keys().all(|name| name.starts_with(prefix));
    if cut {
        let names = std::mem::take(tensors).into_iter();
        tensors.extend(names.map(|(name, tensor)| (name[prefix.len()..].to_owned(), tensor)));
    }
    cut
}

fn open_file(path: &Path) -> Result<(File, u64)> {
    let not_found = |e: std::io::Error| match e.kind() {
        std::io::ErrorKind::NotFound => Error::NotFound { path: path.to_owned() },
        _ => cannot("open", path, e),
    };
    // Asked before opening, since opening a pipe would wait for its other end.
    let metadata = std::fs::metadata(path).map_err(not_found)?;
    if !metadata.is_file() {
        let found = if metadata.is_dir() { "a folder" } else { "not a regular file" };
        return Err(Error::NotAFile { path: path.to_owned(), found });
    }
    if metadata.len() == 0 {
        return Err(Error::Empty { path: path.to_owned() });
    }
    Ok((File::open(path).map_err(not_found)?, metadata.len()))
}

/// Whether candle has storage and conversions for the type; its sub-byte and 8-bit floats are only placeholders.
pub(crate) fn is_supported(dtype: DType) -> bool {
    use DType::{BF16, F16, F32, F64, I16, I32, I64, U8, U32};
    matches!(dtype, BF16 | F16 | F32 | F64 | I16 | I32 | I64 | U8 | U32)
}

/// Whether candle could compute with the shape: beside a zero, the other dimensions of an empty tensor can be anything,
/// and candle multiplies them all the same.
pub(crate) fn is_possible(shape: &[usize]) -> bool {
    shape.iter().try_fold(1usize, |product, &dim| product.checked_mul(dim.max(1))).is_some()
}

pub(crate) fn cannot(action: &'static str, path: &Path, reason: std::io::Error) -> Error {
    Error::Io { path: path.to_owned(), action, reason }
}

#[cfg(unix)]
fn read_exact_at(file: &File, bytes: &mut [u8], offset: u64) -> std::io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, offset)
}

/// Moves the file's own position, which nothing here relies on.
#[cfg(windows)]
fn read_exact_at(file: &File, mut bytes: &mut [u8], mut offset: u64) -> std::io::Result<()> {
    while !bytes.is_empty() {
        match std::os::windows::fs::FileExt::seek_read(file, bytes, offset) {
            Ok(0) => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => {
                bytes = &mut bytes[read..];
                offset += read as u64;
            }
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}
