//! What a checkpoint says about itself, to and from the string map that a safetensors file may carry.

use crate::{Error, Layout, ModelInfo, Result};
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

/// The version of the metadata written here, under `longmae.format`. Files of a higher one are refused.
pub const FORMAT: u64 = 1;

const KEY_FORMAT: &str = "longmae.format";
const KEY_KIND: &str = "longmae.kind";
const KEY_INFO: &str = "longmae.info";
const KEY_RECIPE: &str = "longmae.recipe";
/// In which layout a file was written, if not in MAE's.
pub(crate) const KEY_LAYOUT: &str = "longmae.layout";

/// Which part of the model a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The encoder alone: what other tasks start from.
    Encoder,
    /// Encoder and decoder: what pre-training goes on from and what reconstructs images.
    Full,
    /// Encoder and a classifier's head: what images are classified with.
    Classifier,
    /// A backbone with what finds objects on it, under detectron2's names.
    Detector,
}

impl Kind {
    /// The word under `longmae.kind`.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Encoder => "encoder",
            Kind::Full => "full",
            Kind::Classifier => "classifier",
            Kind::Detector => "detector",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a checkpoint written by longmae says about itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Metadata {
    /// Encoder alone, the full model, a classifier or a detector.
    pub kind: Kind,
    /// Sizes, normalisation and training.
    pub info: ModelInfo,
    /// The resolved recipe of the run, as TOML; none for a model that no recipe made.
    pub recipe: Option<String>,
}

impl Metadata {
    /// The entries for a safetensors header. `path` is only named in errors.
    ///
    /// # Errors
    /// [`Error::Metadata`] if the information contradicts itself or has a number that JSON cannot hold.
    pub fn to_map(&self, path: &Path) -> Result<BTreeMap<String, String>> {
        let info = self.info.to_json().map_err(|reason| bad(path, KEY_INFO, reason))?;
        let mut map = BTreeMap::from([
            (KEY_FORMAT.to_owned(), FORMAT.to_string()),
            (KEY_KIND.to_owned(), self.kind.to_string()),
            (KEY_INFO.to_owned(), info),
        ]);
        if let Some(recipe) = &self.recipe {
            map.insert(KEY_RECIPE.to_owned(), recipe.clone());
        }
        Ok(map)
    }

    /// Reads the entries of a safetensors header; none if no key begins with `longmae.`, as in files from elsewhere.
    /// `path` is only named in errors.
    ///
    /// # Errors
    /// [`Error::NewerFormat`] for a file of a later longmae; [`Error::Metadata`] for entries missing or malformed.
    pub fn from_map(path: &Path, map: &BTreeMap<String, String>) -> Result<Option<Self>> {
        if !map.keys().any(|key| key.starts_with("longmae.")) {
            return Ok(None);
        }
        let get = |key| map.get(key).ok_or_else(|| bad(path, key, "is missing".to_owned()));
        check_format(path, get(KEY_FORMAT)?)?;
        let kind = match get(KEY_KIND)?.as_str() {
            "encoder" => Kind::Encoder,
            "full" => Kind::Full,
            "classifier" => Kind::Classifier,
            "detector" => Kind::Detector,
            other => {
                return Err(bad(
                    path,
                    KEY_KIND,
                    format!("is `{other}`, expected `encoder`, `full`, `classifier` or `detector`"),
                ));
            }
        };
        let info =
            ModelInfo::from_json(get(KEY_INFO)?).map_err(|reason| bad(path, KEY_INFO, reason))?;
        Ok(Some(Self { kind, info, recipe: map.get(KEY_RECIPE).cloned() }))
    }
}

/// The layout that a header names; none if it names none.
pub(crate) fn layout(path: &Path, map: &BTreeMap<String, String>) -> Result<Option<Layout>> {
    let named = map.get(KEY_LAYOUT).map(|name| name.parse::<Layout>());
    named.transpose().map_err(|unknown| bad(path, KEY_LAYOUT, format!("is not known: {unknown}")))
}

fn check_format(path: &Path, text: &str) -> Result<()> {
    match text.parse::<u64>() {
        Ok(found) if found > FORMAT => Err(Error::NewerFormat { path: path.to_owned(), found }),
        Ok(found) if found > 0 => Ok(()),
        _ => Err(bad(path, KEY_FORMAT, format!("is `{text}`, expected a number from 1"))),
    }
}

fn bad(path: &Path, key: &'static str, reason: String) -> Error {
    Error::Metadata { path: path.to_owned(), key, reason }
}
