//! What is uploaded of a run.

use std::ffi::OsStr;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use longmae_hub::{Reference, RepoKind, Upload};
use longmae_train::Checkpoints;
use longmae_weights::{Checkpoint, Metadata, ModelCard, ModelInfo};
use toml::Table;

use super::reference::FULL;
use super::transformers::Transformers;
use crate::run::{CHECKPOINTS, ENCODER, LOSS, RECONSTRUCTIONS};

/// Names in the repository.
const PICTURE: &str = "reconstruction.png";
const CARD: &str = "README.md";
/// The branch of a repository that needs no name.
const MAIN: &str = "main";

/// What a run has made.
pub struct Made {
    encoder: PathBuf,
    full: Option<PathBuf>,
    transformers: Option<Transformers>,
    loss: Option<PathBuf>,
    picture: Option<PathBuf>,
    recipe: Option<String>,
    /// What the encoder's file says of the model.
    pub info: ModelInfo,
}

impl Made {
    /// Looks into a run's folder; the whole model must be there if it is `wanted`.
    pub fn read(run: &Path, wanted: bool) -> anyhow::Result<Self> {
        let shown = run.display();
        if !run.is_dir() {
            bail!("{shown}: no such folder");
        }
        let encoder = run.join(ENCODER);
        if !encoder.exists() {
            bail!("{shown}: there is no {ENCODER} in this folder; a run writes it at its end");
        }
        let Metadata { info, recipe, .. } = metadata(&encoder)?;
        let full = if wanted { Some(full(run, &info)?) } else { None };
        let transformers = Transformers::of(full.as_ref().unwrap_or(&encoder))?;
        let loss = Some(run.join(LOSS)).filter(|file| file.is_file());
        let picture = last_picture(&run.join(RECONSTRUCTIONS))?;
        Ok(Self { encoder, full, transformers, loss, picture, recipe, info })
    }
}

fn metadata(path: &Path) -> anyhow::Result<Metadata> {
    let checkpoint = Checkpoint::open(path)?;
    let metadata = checkpoint.metadata().cloned();
    metadata.with_context(|| {
        format!("{}: the file says nothing of its model, as longmae's files do", path.display())
    })
}

/// The whole model of the run's last step.
fn full(run: &Path, encoder: &ModelInfo) -> anyhow::Result<PathBuf> {
    let folder = run.join(CHECKPOINTS);
    let checkpoint = Checkpoints::new(&folder).latest()?;
    let Some(checkpoint) = checkpoint else {
        bail!("--full: there is no checkpoint in {}", folder.display());
    };
    let path = checkpoint.model_path();
    let steps = metadata(&path)?.info.steps;
    if steps != encoder.steps {
        bail!(
            "--full: {} is of step {steps}, {} of step {}; go on with the run to its end",
            path.display(),
            run.join(ENCODER).display(),
            encoder.steps
        );
    }
    Ok(path)
}

/// The newest picture of a run, if it made any: their names hold the step, with zeros before it.
fn last_picture(folder: &Path) -> anyhow::Result<Option<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        entries => entries.with_context(|| folder.display().to_string())?,
    };
    let mut last = None;
    for entry in entries {
        let path = entry.with_context(|| folder.display().to_string())?.path();
        let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
        if name.starts_with("step-") && name.ends_with(".png") {
            last = last.max(Some(path));
        }
    }
    Ok(last)
}

/// Everything that is sent, the card that describes it last.
pub fn uploads(made: &Made, to: &Reference, license: Option<&str>) -> anyhow::Result<Vec<Upload>> {
    let mut uploads = vec![Upload::file(ENCODER, &made.encoder)];
    let optional = [(FULL, &made.full), (LOSS, &made.loss), (PICTURE, &made.picture)];
    for (name, file) in optional {
        uploads.extend(file.iter().map(|file| Upload::file(name, file)));
    }
    for file in made.transformers.iter().flat_map(|made| &made.files) {
        let name = file.file_name().and_then(OsStr::to_str).unwrap_or_default();
        uploads.push(Upload::file(name, file));
    }
    let named = |name: &str, file: &Option<PathBuf>| file.as_ref().map(|_| name.to_owned());
    let recipe: Table = made.recipe.as_deref().unwrap_or_default().parse()?;
    let said = |key: &str| recipe.get(key).and_then(|value| value.as_str()).unwrap_or_default();
    let card = ModelCard {
        repo: to.repo().id().to_owned(),
        revision: Some(to.revision().to_owned()).filter(|revision| revision != MAIN),
        license: license.map(str::to_owned),
        datasets: of_the_hub(said("data"), RepoKind::Dataset),
        base_model: of_the_hub(said("init_weights"), RepoKind::Model).into_iter().next(),
        recipe: made.recipe.clone(),
        encoder: ENCODER.to_owned(),
        full: named(FULL, &made.full),
        transformers: made.transformers.as_ref().map(|made| made.kind),
        loss_curve: named(LOSS, &made.loss),
        reconstruction: named(PICTURE, &made.picture),
    };
    uploads.push(Upload::bytes(CARD, card.markdown(&made.info)));
    Ok(uploads)
}

/// The repositories of the Hub that a setting names: one, or several as joined data has them, `hf://A;0.5*hf://B#SPLIT`.
fn of_the_hub(setting: &str, kind: RepoKind) -> Vec<String> {
    let mut found = Vec::new();
    for part in setting.split(';') {
        let Some(start) = part.find("hf://") else { continue };
        let name = part[start..].split('#').next().unwrap_or_default().trim();
        let Ok(reference) = name.parse::<Reference>() else { continue };
        let id = reference.repo().id().to_owned();
        if reference.repo().kind() == kind && !found.contains(&id) {
            found.push(id);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories_are_found_in_settings() {
        let data = "hf://datasets/org/a#train; 0.5*hf://datasets/org/b@v1/x/*.parquet;folder;hf://datasets/org/a";
        assert_eq!(of_the_hub(data, RepoKind::Dataset), ["org/a", "org/b"]);
        assert!(of_the_hub(data, RepoKind::Model).is_empty());
        assert_eq!(of_the_hub("hf://org/m@v1/a.safetensors", RepoKind::Model), ["org/m"]);
        assert!(of_the_hub("", RepoKind::Dataset).is_empty());
    }

    #[test]
    fn the_newest_picture_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(last_picture(&folder.path().join("absent")).unwrap(), None);
        assert_eq!(last_picture(folder.path()).unwrap(), None);
        for name in ["step-00000100.png", "step-00000020.png", ".tmp-step-00000900.png", "x.png"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        let last = last_picture(folder.path()).unwrap().unwrap();
        assert!(last.ends_with("step-00000100.png"), "{}", last.display());
    }
}
