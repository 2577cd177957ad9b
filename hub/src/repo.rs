//! A repository of the Hub: its kind and its name.

use std::fmt;

/// What a repository holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum RepoKind {
    /// A model.
    Model,
    /// A dataset.
    Dataset,
}

impl RepoKind {
    /// The word in addresses of the Hub's interface and in folder names: `models`, `datasets`.
    pub(crate) fn plural(self) -> &'static str {
        match self {
            Self::Model => "models",
            Self::Dataset => "datasets",
        }
    }

    /// What stands before the name in addresses of pages and files.
    pub(crate) fn prefix(self) -> &'static str {
        match self {
            Self::Model => "",
            Self::Dataset => "datasets/",
        }
    }
}

impl fmt::Display for RepoKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Model => "model",
            Self::Dataset => "dataset",
        })
    }
}

/// A repository: `model` or `dataset`, and `ORG/NAME`, or `NAME` alone for a few old ones.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Repo {
    kind: RepoKind,
    id: String,
}

impl Repo {
    /// The repository, or what is wrong with its name. The rules are those of `huggingface_hub`'s `validate_repo_id`.
    pub(crate) fn new(kind: RepoKind, id: &str) -> Result<Self, String> {
        let parts: Vec<&str> = id.split('/').collect();
        if parts.len() > 2 {
            return Err(format!("`{id}` has more parts than ORG/NAME"));
        }
        for part in &parts {
            check_part(part)?;
        }
        if id.len() > 96 {
            return Err(format!("`{id}` is longer than 96 characters"));
        }
        if id.contains("--") || id.contains("..") {
            return Err(format!("`{id}` contains `--` or `..`"));
        }
        if id.ends_with(".git") {
            return Err(format!("`{id}` ends with `.git`"));
        }
        Ok(Self { kind, id: id.to_owned() })
    }

    /// What it holds.
    pub fn kind(&self) -> RepoKind {
        self.kind
    }

    /// `ORG/NAME`, or `NAME`.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its folder in the cache: `datasets--ORG--NAME`.
    pub(crate) fn folder(&self) -> String {
        format!("{}--{}", self.kind.plural(), self.id.replace('/', "--"))
    }
}

fn check_part(part: &str) -> Result<(), String> {
    if part.is_empty() {
        return Err("a part of the repository's name is empty".into());
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if let Some(other) = part.chars().find(|c| !allowed(*c)) {
        return Err(format!("{other:?} in a repository's name (only letters, digits, `-_.`)"));
    }
    if part.starts_with(['-', '.']) || part.ends_with(['-', '.']) {
        return Err(format!("`{part}` starts or ends with `-` or `.`"));
    }
    Ok(())
}

impl fmt::Display for Repo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} `{}`", self.kind, self.id)
    }
}
