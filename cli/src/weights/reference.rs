//! Models of the Hub, where weights are named.

use std::path::{Path, PathBuf};

use anyhow::bail;
use longmae_hub::{Hub, Reference, RepoKind};
use longmae_train::Checkpoints;

use crate::download::bar;
use crate::exit::usage;
use crate::run::{CHECKPOINTS, CLASSIFIER, DETECTOR, ENCODER};

/// The whole model in a repository. `model.safetensors` would be taken for a file of transformers.
pub const FULL: &str = "mae.safetensors";
/// What is looked for where no file is named: the more of a model the better.
const CANDIDATES: [&str; 5] = [FULL, CLASSIFIER, DETECTOR, ENCODER, "model.safetensors"];

/// A model of the Hub by its reference.
pub fn model(text: &str) -> anyhow::Result<Reference> {
    let reference: Reference = text.parse().map_err(usage)?;
    match reference.repo().kind() {
        RepoKind::Model => Ok(reference),
        other => Err(usage(format!("`{text}` is a {other}; a model is hf://ORG/NAME"))),
    }
}

/// What transformers and timm keep beside the weights: what a file of theirs does not say itself.
const BESIDE: [&str; 2] = ["config.json", "preprocessor_config.json"];

/// The file that a reference to weights means: itself, or what a run's, checkpoint's or model's folder or a model of the
/// Hub holds.
pub fn find(path: &Path) -> anyhow::Result<PathBuf> {
    if let Some(text) = path.to_str().filter(|text| text.starts_with("hf://")) {
        return fetch(text);
    }
    if !path.is_dir() {
        return Ok(path.to_owned());
    }
    if let Some(checkpoint) = Checkpoints::new(path.join(CHECKPOINTS)).latest()? {
        return Ok(checkpoint.model_path());
    }
    let found = CANDIDATES.map(|name| path.join(name)).into_iter().find(|file| file.is_file());
    let Some(found) = found else {
        let usual = CANDIDATES.join(", ");
        bail!("{}: no weights in this folder (looked for {CHECKPOINTS}/, {usual})", path.display());
    };
    Ok(found)
}

/// The weights that a reference to the Hub means, fetched: a file, or what the repository holds of the usual ones. The JSON
/// files beside it come with it.
fn fetch(text: &str) -> anyhow::Result<PathBuf> {
    let reference = model(text)?;
    let whole = Reference::new(RepoKind::Model, reference.repo().id())?;
    let whole = whole.with_revision(reference.revision())?;
    let hub = Hub::from_env()?;
    let listing = hub.list(&whole)?;
    let all = || listing.files.iter().map(|file| file.path.as_str());
    let names: Vec<&str> = all().filter(|name| reference.matches(name)).collect();
    let usual = || CANDIDATES.into_iter().find(|name| names.contains(name));
    let Some(name) = (if let [name] = names[..] { Some(name) } else { usual() }) else {
        let usual = CANDIDATES.join(", ");
        bail!(
            "{text}: no weights there (looked for {usual}); name a file, as in hf://ORG/NAME/FILE"
        );
    };
    let pinned = whole.pinned(&listing.commit)?;
    let bar = bar();
    let folder = name.rsplit_once('/').map(|(folder, _)| format!("{folder}/")).unwrap_or_default();
    for beside in BESIDE.map(|beside| format!("{folder}{beside}")) {
        if all().any(|name| name == beside) {
            hub.fetch_with(&pinned, &beside, &|progress| bar(progress))?;
        }
    }
    Ok(hub.fetch_with(&pinned, name, &|progress| bar(progress))?)
}
