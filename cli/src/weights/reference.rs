//! Models of the Hub, where weights are named.

use std::path::PathBuf;

use anyhow::bail;
use longmae_hub::{Hub, Reference, RepoKind};

use crate::download::bar;
use crate::exit::usage;
use crate::pretrain::ENCODER;

/// The whole model in a repository. `model.safetensors` would be taken for a file of transformers.
pub const FULL: &str = "mae.safetensors";
/// What is looked for where no file is named: the more the better.
const CANDIDATES: [&str; 3] = [FULL, ENCODER, "model.safetensors"];

/// A model of the Hub by its reference.
pub fn model(text: &str) -> anyhow::Result<Reference> {
    let reference: Reference = text.parse().map_err(usage)?;
    match reference.repo().kind() {
        RepoKind::Model => Ok(reference),
        other => Err(usage(format!("`{text}` is a {other}; a model is hf://ORG/NAME"))),
    }
}

/// The weights that a reference means, fetched: a file, or what the repository holds of the usual ones.
pub fn fetch(text: &str) -> anyhow::Result<PathBuf> {
    let reference = model(text)?;
    let hub = Hub::from_env()?;
    let listing = hub.list(&reference)?;
    let names: Vec<&str> = listing.files.iter().map(|file| file.path.as_str()).collect();
    let usual = || CANDIDATES.into_iter().find(|name| names.contains(name));
    let Some(name) = (if let [name] = names[..] { Some(name) } else { usual() }) else {
        let usual = CANDIDATES.join(", ");
        bail!(
            "{text}: no weights there (looked for {usual}); name a file, as in hf://ORG/NAME/FILE"
        );
    };
    let bar = bar();
    Ok(hub.fetch_with(&reference.pinned(&listing.commit)?, name, &|progress| bar(progress))?)
}
