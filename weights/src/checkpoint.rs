//! A checkpoint opened for reading: the table of tensors is checked at once, numbers are read when asked for.

use crate::layout::{Entry, Mapping};
use crate::{Error, Format, Kind, Layout, Metadata, Result, StoredFile, infer_kind};
use candle_core::{DType, Device, Tensor};
use std::path::Path;
use std::sync::Arc;

/// A file of weights under MAE's parameter names, whatever names the file itself has, written by longmae or elsewhere.
///
/// Opening reads and validates the table of tensors only, so that looking at a large file is cheap; the file stays open,
/// and replacing it by renaming another over it does not disturb reading. Clones share the file.
#[derive(Debug, Clone)]
pub struct Checkpoint {
    stored: Arc<StoredFile>,
    layout: Option<Layout>,
    mapping: Mapping,
}

impl Checkpoint {
    /// Opens the file, checks all of it but the numbers (length, names, shapes, offsets, types, metadata), and tells its
    /// layout.
    ///
    /// # Errors
    /// One for each way in which a file is not a checkpoint; see [`Error`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Ok(Self::from_stored(StoredFile::open(path)?))
    }

    /// Opens a PyTorch file that holds several state dicts: the one under the key `part` of its top level.
    ///
    /// # Errors
    /// As [`Self::open`]; [`Error::NoStateDict`] if there is none under that key.
    pub fn open_part(path: impl AsRef<Path>, part: &str) -> Result<Self> {
        Ok(Self::from_stored(StoredFile::open_part(path, part)?))
    }

    /// A file that is already open.
    pub fn from_stored(stored: StoredFile) -> Self {
        let names: Vec<&str> = stored.names().collect();
        let layout = match Layout::detect(names.iter().copied()) {
            // The same names for an encoder: a file of longmae's is MAE's unless it says otherwise, and so is a `.pth`, the
            // form in which MAE's were published.
            Some(Layout::Timm) if stored.metadata().is_some() || stored.format() == Format::Pth => {
                Some(Layout::Mae)
            }
            detected => detected,
        };
        let layout = stored.layout().or(layout);
        let tensors = names.iter().filter_map(|name| Some((*name, stored.get(name)?)));
        let table = tensors.map(|(name, t)| (name, (t.dtype(), t.shape()))).collect();
        let mapping = Mapping::new(layout, &table);
        tracing::debug!(path = %stored.path().display(), ?layout, "told the layout");
        Self { layout, mapping, stored: Arc::new(stored) }
    }

    /// The same file under its own names, whatever they are: for models that are not MAE's, as detectors under
    /// detectron2's.
    #[must_use]
    pub fn under_own_names(&self) -> Self {
        let stored = &self.stored;
        let tensors = stored.names().filter_map(|name| Some((name, stored.get(name)?)));
        let table = tensors.map(|(name, t)| (name, (t.dtype(), t.shape()))).collect();
        self.with_mapping(Mapping::new(None, &table))
    }

    /// The file as it is, with its own names.
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

    /// The layout, as the file says or its names tell; none if they are no layout's and were left as they are.
    pub fn layout(&self) -> Option<Layout> {
        self.layout
    }

    /// What the file holds: as its metadata says, or else as its names tell; none if the names are no layout's.
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

    /// The tensors' MAE names, sorted. What is no parameter of the layout has the file's own name.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.mapping.entries.keys().map(String::as_str)
    }

    /// The file's own names of what no model here has, sorted: a detector's other parts, a pooling layer.
    pub fn left_out(&self) -> &[String] {
        &self.mapping.left_out
    }

    /// The file's own name of a tensor, or several joined by ` + `, if they are not MAE's.
    pub fn own_name(&self, name: &str) -> Option<String> {
        self.mapping.own_names(name)
    }

    /// The shape of a tensor, if there is one of that name.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.mapping.entries.get(name).map(|entry| entry.shape.as_slice())
    }

    /// The type of a tensor's numbers in the file, if there is one of that name.
    pub fn dtype(&self, name: &str) -> Option<DType> {
        self.mapping.entries.get(name).map(|entry| entry.dtype)
    }

    /// Reads one tensor as it is in the file.
    ///
    /// # Errors
    /// [`Error::NoSuchTensor`], [`Error::Io`] if the disk refuses, [`Error::Tensor`] if the device does.
    pub fn tensor(&self, name: &str, device: &Device) -> Result<Tensor> {
        let entry = self.mapping.entries.get(name).ok_or_else(|| self.no_such(name))?;
        let bytes = self.read_entry(entry)?;
        Tensor::from_raw_buffer(&bytes, entry.dtype, &entry.shape, device)
            .map_err(|reason| self.tensor_error(name, reason))
    }

    /// Reads a tensor's bytes, which `bytes` must be as many as. Several can be read at once.
    pub(crate) fn read(&self, name: &str, bytes: &mut [u8]) -> Result<()> {
        self.fill_entry(self.mapping.entries.get(name).ok_or_else(|| self.no_such(name))?, bytes)
    }

    /// The numbers of an entry, row after row.
    pub(crate) fn read_entry(&self, entry: &Entry) -> Result<Vec<u8>> {
        // Stored tensors lie within the file, and of zeros there are half as many, so this is bounded by the file.
        let mut bytes = vec![0; entry.row_bytes() * entry.shape.first().copied().unwrap_or(1)];
        self.fill_entry(entry, &mut bytes)?;
        Ok(bytes)
    }

    fn fill_entry(&self, entry: &Entry, mut bytes: &mut [u8]) -> Result<()> {
        for piece in &entry.pieces {
            let (these, rest) = bytes.split_at_mut(entry.row_bytes() * piece.rows.len());
            bytes = rest;
            match &piece.stored {
                None => these.fill(0),
                Some(name) => {
                    let tensor = self.stored.get(name).ok_or_else(|| self.no_such(name))?;
                    self.stored.read_rows(tensor, piece.rows.clone(), these)?;
                }
            }
        }
        Ok(())
    }

    pub(crate) fn mapping(&self) -> &Mapping {
        &self.mapping
    }

    /// The same file seen in another way.
    pub(crate) fn with_mapping(&self, mapping: Mapping) -> Self {
        Self { mapping, ..self.clone() }
    }

    fn no_such(&self, name: &str) -> Error {
        Error::NoSuchTensor { path: self.path().to_owned(), name: name.to_owned() }
    }

    pub(crate) fn tensor_error(&self, name: &str, reason: candle_core::Error) -> Error {
        Error::Tensor {
            path: self.path().to_owned(),
            name: name.to_owned(),
            reason: Box::new(reason),
        }
    }
}
