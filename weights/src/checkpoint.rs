//! A checkpoint opened for reading: the header is checked at once, tensors are read when asked for.

use crate::{Error, Kind, Metadata, Result, StoredFile, infer_kind};
use candle_core::{DType, Device, Tensor};
use std::path::Path;

/// A file of tensors with MAE's parameter names, written by longmae or elsewhere.
///
/// Opening reads and validates the table of tensors only, so that looking at a large file is cheap; the file stays open,
/// and replacing it by renaming another over it does not disturb reading.
#[derive(Debug)]
pub struct Checkpoint {
    stored: StoredFile,
}

impl Checkpoint {
    /// Opens the file and checks all of it but the numbers: length, names, shapes, offsets, types, metadata.
    ///
    /// # Errors
    /// One for each way in which a file is not a checkpoint; see [`Error`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Ok(Self { stored: StoredFile::open(path)? })
    }

    /// Opens a PyTorch file that holds several state dicts: the one under the key `part` of its top level.
    ///
    /// # Errors
    /// As [`Self::open`]; [`Error::NoStateDict`] if there is none under that key.
    pub fn open_part(path: impl AsRef<Path>, part: &str) -> Result<Self> {
        Ok(Self { stored: StoredFile::open_part(path, part)? })
    }

    /// The file as it is.
    pub fn stored(&self) -> &StoredFile {
        &self.stored
    }

    /// What was chosen, cut off or left out when the file was opened; see [`StoredFile::notes`].
    pub fn notes(&self) -> &[String] {
        self.stored.notes()
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        self.stored.path()
    }

    /// What the file holds: as its metadata says, or else as its names tell; none if the names are not MAE's.
    pub fn kind(&self) -> Option<Kind> {
        match self.metadata() {
            Some(metadata) => Some(metadata.kind),
            None => infer_kind(self.names()),
        }
    }

    /// What the file says about itself; none if longmae did not write it.
    pub fn metadata(&self) -> Option<&Metadata> {
        self.stored.metadata()
    }

    /// The tensors' names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.stored.names()
    }

    /// The shape of a tensor, if there is one of that name.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.stored.shape(name)
    }

    /// The type of a tensor's numbers in the file, if there is one of that name.
    pub fn dtype(&self, name: &str) -> Option<DType> {
        self.stored.dtype(name)
    }

    /// Reads one tensor as it is in the file.
    ///
    /// # Errors
    /// [`Error::NoSuchTensor`], [`Error::Io`] if the disk refuses, [`Error::Tensor`] if the device does.
    pub fn tensor(&self, name: &str, device: &Device) -> Result<Tensor> {
        let stored = self.stored.get(name).ok_or_else(|| Error::NoSuchTensor {
            path: self.path().to_owned(),
            name: name.to_owned(),
        })?;
        let bytes = self.stored.read(stored)?;
        Tensor::from_raw_buffer(&bytes, stored.dtype(), stored.shape(), device)
            .map_err(|reason| self.tensor_error(name, reason))
    }

    pub(crate) fn tensor_error(&self, name: &str, reason: candle_core::Error) -> Error {
        Error::Tensor {
            path: self.path().to_owned(),
            name: name.to_owned(),
            reason: Box::new(reason),
        }
    }
}
