//! A checkpoint opened for reading: the header is checked at once, tensors are read when asked for.

use crate::header::{Header, MAX_LEN, PREFIX_LEN};
use crate::positional::read_exact_at;
use crate::{Error, Kind, Metadata, Result, infer_kind, sniff};
use candle_core::{DType, Device, Tensor};
use safetensors::tensor::TensorInfo;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// A safetensors file with MAE's parameter names, written by longmae or elsewhere.
///
/// Opening reads and validates the header only, so that looking at a large file is cheap; the file stays open, and
/// replacing it by renaming another over it does not disturb reading.
#[derive(Debug)]
pub struct Checkpoint {
    path: PathBuf,
    file: File,
    data_start: u64,
    tensors: BTreeMap<String, Entry>,
    metadata: Option<Metadata>,
}

#[derive(Debug)]
struct Entry {
    dtype: DType,
    info: TensorInfo,
}

impl Checkpoint {
    /// Opens the file and checks all of it but the numbers: length, names, shapes, offsets, types, metadata.
    ///
    /// # Errors
    /// One for each way in which a file is not a checkpoint; see [`Error`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref().to_owned();
        let (mut file, length) = open_file(&path)?;
        let (header, data_start) = read_header(&path, &mut file, length)?;
        check_length(&path, length, data_start.saturating_add(header.data_len()))?;
        let metadata = Metadata::from_map(&path, &header.metadata)?;
        let tensors = header
            .tensors
            .into_iter()
            .map(|(name, info)| {
                Ok((name.clone(), Entry { dtype: dtype(&path, name, &info)?, info }))
            })
            .collect::<Result<_>>()?;
        tracing::debug!(path = %path.display(), bytes = length, "opened checkpoint");
        Ok(Self { path, file, data_start, tensors, metadata })
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the file holds: as its metadata says, or else as its names tell; none if the names are not MAE's.
    pub fn kind(&self) -> Option<Kind> {
        match &self.metadata {
            Some(metadata) => Some(metadata.kind),
            None => infer_kind(self.names()),
        }
    }

    /// What the file says about itself; none if longmae did not write it.
    pub fn metadata(&self) -> Option<&Metadata> {
        self.metadata.as_ref()
    }

    /// The tensors' names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// The shape of a tensor, if there is one of that name.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.tensors.get(name).map(|entry| entry.info.shape.as_slice())
    }

    /// The type of a tensor's numbers in the file, if there is one of that name.
    pub fn dtype(&self, name: &str) -> Option<DType> {
        self.tensors.get(name).map(|entry| entry.dtype)
    }

    /// Reads one tensor as it is in the file.
    ///
    /// # Errors
    /// [`Error::NoSuchTensor`], [`Error::Io`] if the disk refuses, [`Error::Tensor`] if the device does.
    pub fn tensor(&self, name: &str, device: &Device) -> Result<Tensor> {
        let entry = self.entry(name)?;
        let (start, end) = entry.info.data_offsets;
        // The lengths were checked against the file's when it was opened, so this allocates no more than the file has.
        let mut bytes = vec![0; end - start];
        self.read(name, &mut bytes)?;
        Tensor::from_raw_buffer(&bytes, entry.dtype, &entry.info.shape, device)
            .map_err(|reason| self.tensor_error(name, reason))
    }

    /// Reads a tensor's bytes, which `bytes` must be as many as. Several can be read at once.
    pub(crate) fn read(&self, name: &str, bytes: &mut [u8]) -> Result<()> {
        let start = self.data_start + self.entry(name)?.info.data_offsets.0 as u64;
        read_exact_at(&self.file, bytes, start).map_err(|e| cannot("read", &self.path, e))
    }

    /// Whether the file still has all of its bytes, since others may have written into it.
    pub(crate) fn check_whole(&self) -> Result<()> {
        let found = self.file.metadata().map_err(|e| cannot("read", &self.path, e))?.len();
        let data = self.tensors.values().map(|entry| entry.info.data_offsets.1).max();
        check_length(&self.path, found, self.data_start + data.unwrap_or(0) as u64)
    }

    fn entry(&self, name: &str) -> Result<&Entry> {
        self.tensors
            .get(name)
            .ok_or_else(|| Error::NoSuchTensor { path: self.path.clone(), name: name.to_owned() })
    }

    pub(crate) fn tensor_error(&self, name: &str, reason: candle_core::Error) -> Error {
        Error::Tensor { path: self.path.clone(), name: name.to_owned(), reason: Box::new(reason) }
    }
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

/// The header, and where the data begins.
fn read_header(path: &Path, file: &mut File, length: u64) -> Result<(Header, u64)> {
    let start = read_at(path, file, 0, length.min(sniff::SNIFF_LEN))?;
    let Some((prefix, [b'{', ..])) = start.split_first_chunk() else {
        return Err(Error::NotSafetensors {
            path: path.to_owned(),
            found: sniff::describe(&start),
        });
    };
    let bad_header = |reason| Error::BadHeader { path: path.to_owned(), reason };
    let header_len = u64::from_le_bytes(*prefix);
    if header_len > MAX_LEN {
        return Err(bad_header(format!(
            "its length is given as {header_len} bytes, the format allows {MAX_LEN}"
        )));
    }
    let data_start = PREFIX_LEN + header_len;
    if data_start > length {
        return Err(Error::Truncated {
            path: path.to_owned(),
            found: length,
            expected: data_start,
        });
    }
    let json = read_at(path, file, PREFIX_LEN, header_len)?;
    Ok((Header::parse(&json).map_err(bad_header)?, data_start))
}

fn check_length(path: &Path, found: u64, expected: u64) -> Result<()> {
    let path = path.to_owned();
    match found.cmp(&expected) {
        std::cmp::Ordering::Less => Err(Error::Truncated { path, found, expected }),
        std::cmp::Ordering::Greater => Err(Error::TrailingBytes { path, found, expected }),
        std::cmp::Ordering::Equal => Ok(()),
    }
}

fn dtype(path: &Path, name: String, info: &TensorInfo) -> Result<DType> {
    let dtype = DType::try_from(info.dtype).ok().filter(|dtype| is_supported(*dtype));
    dtype.ok_or_else(|| Error::UnsupportedDtype {
        path: path.to_owned(),
        name,
        dtype: info.dtype.to_string(),
    })
}

/// Whether candle has storage and conversions for the type; its sub-byte and 8-bit floats are only placeholders.
pub(crate) fn is_supported(dtype: DType) -> bool {
    use DType::{BF16, F16, F32, F64, I16, I32, I64, U8, U32};
    matches!(dtype, BF16 | F16 | F32 | F64 | I16 | I32 | I64 | U8 | U32)
}

/// `length` bytes from `start`; fewer only if the file shrinks meanwhile.
fn read_at(path: &Path, file: &mut File, start: u64, length: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(start))
        .and_then(|_| file.take(length).read_to_end(&mut bytes))
        .map_err(|e| cannot("read", path, e))?;
    Ok(bytes)
}

pub(crate) fn cannot(action: &'static str, path: &Path, reason: std::io::Error) -> Error {
    Error::Io { path: path.to_owned(), action, reason }
}
