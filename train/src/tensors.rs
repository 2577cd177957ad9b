//! Named tensors in safetensors files.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::Path;

use candle_core::{Device, Tensor, Var};
use safetensors::{Dtype, View};

use crate::{Error, Result};

/// Variables as tensors that share their numbers.
pub(crate) fn shared_tensors(vars: &[(String, Var)]) -> Vec<(String, Tensor)> {
    vars.iter().map(|(name, var)| (name.clone(), var.as_detached_tensor())).collect()
}

/// Writes tensors of any device under their names and waits until they are on the disk. One tensor at a time is copied.
pub(crate) fn save_tensors(path: &Path, tensors: &[(String, Tensor)]) -> Result<()> {
    let failure = RefCell::new(None);
    let views: BTreeMap<&str, Copied<'_>> = tensors
        .iter()
        .map(|(name, tensor)| (name.as_str(), Copied { tensor, failure: &failure }))
        .collect();
    // safetensors replaces the file by one that only its owner may read: give it the usual rights back.
    let rights = File::create(path).and_then(|file| file.metadata()).map(|data| data.permissions());
    let rights = rights.map_err(Error::io("creating", path))?;
    safetensors::serialize_to_file(views, None, path)
        .map_err(|e| Error::io("writing", path)(std::io::Error::other(e)))?;
    if let Some(refused) = failure.into_inner() {
        return Err(Error::Candle(refused));
    }
    fs::set_permissions(path, rights)
        .and_then(|()| File::open(path)?.sync_all())
        .map_err(Error::io("writing", path))
}

/// A tensor that is copied to the host's memory when its turn to be written comes.
struct Copied<'a> {
    tensor: &'a Tensor,
    /// What a device refused with: `View` has no way to fail, and candle's own would panic.
    failure: &'a RefCell<Option<candle_core::Error>>,
}

impl View for Copied<'_> {
    fn dtype(&self) -> Dtype {
        View::dtype(self.tensor)
    }

    fn shape(&self) -> &[usize] {
        self.tensor.dims()
    }

    fn data(&self) -> Cow<'_, [u8]> {
        match self.tensor.to_device(&Device::Cpu) {
            Ok(host) => Cow::Owned(View::data(&host).into_owned()),
            Err(refused) => {
                self.failure.replace(Some(refused));
                Cow::Owned(vec![0; self.data_len()])
            }
        }
    }

    fn data_len(&self) -> usize {
        View::data_len(self.tensor)
    }
}

/// Reads all tensors of a file.
pub(crate) fn load_tensors(path: &Path) -> Result<BTreeMap<String, Tensor>> {
    Ok(candle_core::safetensors::load(path, &Device::Cpu)?.into_iter().collect())
}

/// Sets every variable from the tensor of its name; all or nothing.
pub(crate) fn set_all(
    what: &'static str,
    vars: &[(String, Var)],
    tensors: &BTreeMap<String, Tensor>,
) -> Result<()> {
    let mut problems = Vec::new();
    for (name, var) in vars {
        match tensors.get(name) {
            None => problems.push(format!("`{name}` is missing")),
            Some(t) if t.shape() != var.shape() => problems.push(format!(
                "`{name}` has shape {:?}, expected {:?}",
                t.dims(),
                var.dims()
            )),
            Some(_) => {}
        }
    }
    let known: BTreeSet<&String> = vars.iter().map(|(name, _)| name).collect();
    let extra = tensors.keys().filter(|name| !known.contains(name));
    problems.extend(extra.map(|name| format!("`{name}` is unexpected")));
    if !problems.is_empty() {
        let more = problems.len().saturating_sub(6);
        problems.truncate(6);
        let mut problem = problems.join("; ");
        if more > 0 {
            problem.push_str(&format!("; and {more} more"));
        }
        return Err(Error::Mismatch { what, problem });
    }
    for (name, var) in vars {
        var.set(&tensors[name].to_dtype(var.dtype())?.to_device(var.device())?)?;
    }
    Ok(())
}
