//! PyTorch's files: the table of a state dict's tensors, read without running any of the pickle's code.
//!
//! Both of `torch.save`'s containers are read, the zip archive of torch 1.6 and later and the stream before it. Not by
//! `candle_core::pickle`: it clones what the memo holds (so that thirty opcodes can fill any memory, and a dict filled
//! after it was memoised stays empty where it is used again), allocates what a string claims, panics on short tuples,
//! skips tensors it cannot read, and knows neither the old stream, nor protocol 4, nor scattered strides.

mod archive;
mod object;
mod pickle;
mod rebuild;
mod state_dict;
mod stream;

use crate::stored::{Contents, Format, Source, StoredTensor};
use crate::{Error, Result};
use object::{Pickle, short};
use std::collections::BTreeMap;

/// The longest pickle read, in bytes; those of published checkpoints have some hundred kilobytes.
const MAX_PICKLE: u64 = 64 << 20;

/// Where a storage's numbers lie in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Storage {
    offset: u64,
    length: u64,
}

/// A file's storages by their keys.
type Storages = BTreeMap<String, Storage>;

/// Whether a file begins like a zip archive.
pub(crate) fn is_zip(start: &[u8]) -> bool {
    start.starts_with(b"PK\x03\x04")
}

/// Whether a file begins like a pickle of protocol 2 or later.
pub(crate) fn is_pickle(start: &[u8]) -> bool {
    matches!(start, [0x80, 2..=5, ..])
}

/// Reads the table of a file that begins like a zip archive or a pickle. `part` names the state dict where the file has
/// several.
pub(crate) fn read(source: Source<'_>, start: &[u8], part: Option<&str>) -> Result<Contents> {
    match is_zip(start) {
        true => archive::read(source, part),
        false => stream::read(source, part),
    }
}

/// The table of the state dict that the pickle holds.
fn table(
    source: Source<'_>,
    pickle: &Pickle<'_>,
    storages: &Storages,
    part: Option<&str>,
) -> Result<Contents> {
    let found = state_dict::find(source.path, pickle, part)?;
    let mut tensors: BTreeMap<String, StoredTensor> = BTreeMap::new();
    for (name, id) in found.tensors {
        let rebuilt = rebuild::tensor(pickle, id).and_then(|tensor| {
            let tensor = tensor.ok_or_else(|| "is no tensor".to_owned())?;
            tensor.place(storages, source.length)
        });
        let tensor = rebuilt.map_err(|reason| Error::BadTensor {
            path: source.path.to_owned(),
            name: short(name),
            reason,
        })?;
        if tensors.insert(name.to_owned(), tensor).is_some() {
            return Err(bad(source, format!("its state dict has `{}` twice", short(name))));
        }
    }
    Ok(Contents { format: Format::Pth, tensors, metadata: None, layout: None, notes: found.notes })
}

fn bad(source: Source<'_>, reason: impl Into<String>) -> Error {
    Error::BadPth { path: source.path.to_owned(), reason: reason.into() }
}
