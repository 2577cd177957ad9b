//! Writing a checkpoint: whole or not at all, and the same bytes for the same input.

use crate::header::{Header, METADATA_KEY};
use crate::stored::{cannot, is_supported};
use crate::{Error, Kind, Metadata, Result, is_decoder};
use candle_core::{Device, Tensor};
use safetensors::tensor::{TensorInfo, View};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use tempfile::NamedTempFile;

/// Writes the tensors and what they are to `path`, replacing a file that is there.
///
/// The bytes go to a temporary file in the same folder, are flushed to the disk, and only then take the name; when
/// anything fails the temporary file is removed and what was at `path` is untouched. Tensors are ordered as the
/// `safetensors` crate orders them (widest numbers first, then by name), so equal input gives equal bytes.
///
/// # Errors
/// [`Error::DuplicateName`]; [`Error::WrongName`] for a decoder's tensor in a file of kind `encoder`;
/// [`Error::UnsupportedDtype`]; [`Error::Metadata`] for model information that contradicts itself; [`Error::Io`] if the
/// disk refuses; [`Error::Tensor`] if a tensor cannot be copied from its device.
pub fn save(
    path: impl AsRef<Path>,
    metadata: &Metadata,
    tensors: &[(String, Tensor)],
) -> Result<()> {
    let path = path.as_ref();
    let kind = metadata.kind;
    let wrong = |name: &str| name == METADATA_KEY || (kind == Kind::Encoder && is_decoder(name));
    if let Some((name, _)) = tensors.iter().find(|(name, _)| wrong(name)) {
        return Err(Error::WrongName { path: path.to_owned(), kind, name: name.clone() });
    }
    write_tensors(path, metadata.to_map(path)?, tensors)?;
    tracing::debug!(path = %path.display(), %kind, tensors = tensors.len(), "saved checkpoint");
    Ok(())
}

/// Writes tensors under any names, with the string map of the header.
pub(crate) fn write_tensors(
    path: &Path,
    map: BTreeMap<String, String>,
    tensors: &[(String, Tensor)],
) -> Result<()> {
    check(path, tensors)?;
    let mut sorted: Vec<&(String, Tensor)> = tensors.iter().collect();
    sorted.sort_by(|(a_name, a), (b_name, b)| {
        View::dtype(b).cmp(&View::dtype(a)).then_with(|| a_name.cmp(b_name))
    });
    let header = Header { metadata: map, tensors: layout(&sorted) };
    let header =
        header.to_bytes().map_err(|reason| Error::BadHeader { path: path.to_owned(), reason })?;
    replace(path, |file| write(path, file, &header, &sorted))
}

/// Writes a text whole or not at all.
pub(crate) fn write_text(path: &Path, text: &str) -> Result<()> {
    let failed = |e| cannot("write", path, e);
    replace(path, |file| {
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)
    })
}

/// Puts what `fill` writes, and flushes, to a temporary file in the place of `path`.
fn replace(path: &Path, fill: impl FnOnce(&mut File) -> Result<()>) -> Result<()> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut temporary = temporary_in(folder).map_err(|e| cannot("write into", folder, e))?;
    fill(temporary.as_file_mut())?;
    temporary.persist(path).map_err(|e| cannot("write", path, e.error))?;
    sync_folder(folder).map_err(|e| cannot("flush", folder, e))
}

fn check(path: &Path, tensors: &[(String, Tensor)]) -> Result<()> {
    let mut seen = BTreeSet::new();
    for (name, tensor) in tensors {
        let (path, name) = (path.to_owned(), name.clone());
        if !seen.insert(name.clone()) {
            return Err(Error::DuplicateName { path, name });
        }
        if !is_supported(tensor.dtype()) {
            return Err(Error::UnsupportedDtype {
                path,
                name,
                dtype: View::dtype(tensor).to_string(),
            });
        }
    }
    Ok(())
}

/// Where each tensor's bytes will lie: one after the other.
fn layout(tensors: &[&(String, Tensor)]) -> Vec<(String, TensorInfo)> {
    let mut end = 0;
    let place = |(name, tensor): &&(String, Tensor)| {
        let start = end;
        end += tensor.data_len();
        let info = TensorInfo {
            dtype: View::dtype(tensor),
            shape: tensor.dims().to_vec(),
            data_offsets: (start, end),
        };
        (name.clone(), info)
    };
    tensors.iter().map(place).collect()
}

fn temporary_in(folder: &Path) -> std::io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".tmp-").suffix(".safetensors");
    // The crate's default is 0600, but a checkpoint is an ordinary file: the user's umask decides.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.tempfile_in(folder)
}

fn write(path: &Path, file: &mut File, header: &[u8], tensors: &[&(String, Tensor)]) -> Result<()> {
    let failed = |e| cannot("write", path, e);
    let mut writer = BufWriter::with_capacity(1 << 20, file);
    writer.write_all(header).map_err(failed)?;
    for (name, tensor) in tensors {
        // `View::data` panics where a device refuses, so the copy is made before.
        let tensor = tensor.to_device(&Device::Cpu).map_err(|reason| Error::Tensor {
            path: path.to_owned(),
            name: name.clone(),
            reason: Box::new(reason),
        })?;
        writer.write_all(&tensor.data()).map_err(failed)?;
    }
    writer.flush().map_err(failed)?;
    writer.get_ref().sync_all().map_err(failed)
}

/// Makes the new name itself last through a power cut.
#[cfg(unix)]
fn sync_folder(folder: &Path) -> std::io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Other systems cannot flush a folder.
#[cfg(not(unix))]
fn sync_folder(_folder: &Path) -> std::io::Result<()> {
    Ok(())
}
