//! A run's model in transformers' layout, made for a push.

use std::path::{Path, PathBuf};

use anyhow::Context;
use candle_core::Device;
use longmae_weights::{Checkpoint, Error, Kind, Layout, export};
use tempfile::TempDir;

/// `model.safetensors` and the JSON files beside it, in a temporary folder.
pub struct Transformers {
    pub kind: Kind,
    pub files: Vec<PathBuf>,
    /// Removed when this is dropped.
    _folder: TempDir,
}

impl Transformers {
    /// Converts a file; none if transformers has no room for the model, which its card then says.
    pub fn of(path: &Path) -> anyhow::Result<Option<Self>> {
        let checkpoint = Checkpoint::open(path)?;
        let metadata = checkpoint.metadata().with_context(|| path.display().to_string())?;
        let layout = match metadata.kind {
            Kind::Full => Layout::HfVitMae,
            Kind::Encoder | Kind::Classifier | Kind::Detector => Layout::HfVit,
        };
        let mut tensors = Vec::new();
        for name in checkpoint.names() {
            tensors.push((name.to_owned(), checkpoint.tensor(name, &Device::Cpu)?));
        }
        let export = match export(&tensors, metadata, layout) {
            Err(Error::CannotHold { .. }) => return Ok(None),
            export => export?,
        };
        let folder = tempfile::tempdir()?;
        let files = export.save_folder(folder.path())?;
        Ok(Some(Self { kind: metadata.kind, files, _folder: folder }))
    }
}
