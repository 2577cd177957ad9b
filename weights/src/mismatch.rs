//! How a file and a model differ: everything at once, short enough to read.

use std::fmt;
use std::path::PathBuf;

/// Names shown of a long list.
const SHOWN: usize = 8;

/// A tensor that both sides have, in different forms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misfit {
    /// The tensor.
    pub name: String,
    /// Its shape (or, for numbers that are not floats, its type) in the file.
    pub file: String,
    /// The same in the model.
    pub model: String,
}

/// The difference between a file's tensors and a model's; the loading that found it changed nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Mismatch {
    /// The file.
    pub path: PathBuf,
    /// Names that the model has and the file has not, in the model's order.
    pub missing: Vec<String>,
    /// Names that the file has and the model has not, sorted.
    pub unexpected: Vec<String>,
    /// Tensors of the same name and another shape or type, in the model's order.
    pub misfits: Vec<Misfit>,
    /// What this probably means and what to do.
    pub hints: Vec<String>,
}

impl Mismatch {
    pub(crate) fn is_empty(&self) -> bool {
        self.missing.is_empty() && self.unexpected.is_empty() && self.misfits.is_empty()
    }
}

/// The lists on one line, the hints on a second.
impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lists: Vec<String> = [
            list("missing in the file", &self.missing),
            list("unexpected in the file", &self.unexpected),
            list("of another shape or type", &self.misfits),
        ]
        .into_iter()
        .flatten()
        .collect();
        write!(
            f,
            "`{}` does not fit the model, nothing was loaded: {}",
            self.path.display(),
            lists.join("; ")
        )?;
        match self.hints.is_empty() {
            true => Ok(()),
            false => write!(f, "\n{}", self.hints.join("; ")),
        }
    }
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (file {}, model {})", self.name, self.file, self.model)
    }
}

fn list<T: fmt::Display>(what: &str, items: &[T]) -> Option<String> {
    let mut names: Vec<String> = items.iter().take(SHOWN).map(T::to_string).collect();
    if items.len() > SHOWN {
        names.push(format!("... and {} more", items.len() - SHOWN));
    }
    (!items.is_empty()).then(|| format!("{} {what}: {}", items.len(), names.join(", ")))
}
