//! How a file and a model differ: everything at once, short enough to read.

use crate::Layout;
use std::collections::BTreeMap;
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
    /// The file's layout; none if its names are no layout's.
    pub layout: Option<Layout>,
    /// Names that the model has and the file has not, in the model's order.
    pub missing: Vec<String>,
    /// Names that the file has and the model has not, sorted.
    pub unexpected: Vec<String>,
    /// Tensors of the same name and another shape or type, in the model's order.
    pub misfits: Vec<Misfit>,
    /// The file's own names of those among them that it has under other names than MAE's.
    pub own_names: BTreeMap<String, String>,
    /// What this probably means and what to do.
    pub hints: Vec<String>,
}

impl Mismatch {
    /// A name, and the file's own in brackets if it is another.
    fn shown(&self, name: &str) -> String {
        let own = self.own_names.get(name);
        own.map_or_else(|| name.to_owned(), |own| format!("{name} [{own}]"))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.missing.is_empty() && self.unexpected.is_empty() && self.misfits.is_empty()
    }
}

/// The lists on one line, the hints on a second.
impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |names: &[String]| names.iter().map(|name| self.shown(name)).collect();
        let misfits = self.misfits.iter().map(|Misfit { name, file, model }| {
            format!("{} (file {file}, model {model})", self.shown(name))
        });
        let lists: Vec<String> = [
            list("missing in the file", shown(&self.missing)),
            list("unexpected in the file", shown(&self.unexpected)),
            list("of another shape or type", misfits.collect()),
        ]
        .into_iter()
        .flatten()
        .collect();
        let layout = self.layout.filter(|layout| *layout != Layout::Mae);
        let layout = layout.map(|layout| format!(" (layout {layout})")).unwrap_or_default();
        write!(
            f,
            "`{}`{layout} does not fit the model, nothing was loaded: {}",
            self.path.display(),
            lists.join("; ")
        )?;
        match self.hints.is_empty() {
            true => Ok(()),
            false => write!(f, "\n{}", self.hints.join("; ")),
        }
    }
}

fn list(what: &str, items: Vec<String>) -> Option<String> {
    let count = items.len();
    let mut names: Vec<String> = items.into_iter().take(SHOWN).collect();
    if count > SHOWN {
        names.push(format!("... and {} more", count - SHOWN));
    }
    (count > 0).then(|| format!("{count} {what}: {}", names.join(", ")))
}
