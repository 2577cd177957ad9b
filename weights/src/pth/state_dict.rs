//! Which of a file's dicts is the model's.

use super::object::{Id, Pickle, short};
use super::rebuild::is_tensor;
use crate::{Error, Result};
use std::path::Path;

/// Keys under which training programs put a model's state dict.
const KEYS: [&str; 12] = [
    "model",
    "state_dict",
    "model_state_dict",
    "model_state",
    "module",
    "net",
    "network",
    "model_ema",
    "state_dict_ema",
    "ema",
    "teacher",
    "student",
];
/// The most entries a state dict may have; the largest models' have some thousands.
const MAX_ENTRIES: usize = 1 << 17;
/// Entries shown of a list in a message.
const SHOWN: usize = 8;

/// A state dict.
pub(super) struct Found<'p> {
    pub tensors: Vec<(&'p str, Id)>,
    /// What was chosen or left out.
    pub notes: Vec<String>,
}

/// Finds the state dict: under the key `part` if one is given, else the only one under the known keys, else the top level
/// itself. A dict that holds no tensor is none. (Loose tensors beside a state dict are no part of it: a generator's state,
/// a loss.)
pub(super) fn find<'p>(path: &Path, pickle: &Pickle<'p>, part: Option<&str>) -> Result<Found<'p>> {
    let none = |reason| Error::NoStateDict { path: path.to_owned(), reason };
    let root = pickle.root;
    let Some(entries) = pickle.dict(root) else { return Err(none(no_dict(pickle))) };
    if let Some(part) = part {
        let dict = pickle.value(entries, part).filter(|id| tensors_in(pickle, *id) > 0);
        let dict = dict
            .ok_or_else(|| none(format!("under `{part}`; it has {}", listed(pickle, entries))))?;
        return state_dict(path, pickle, dict, Some(part));
    }
    let known = KEYS.iter().filter_map(|key| Some((*key, pickle.value(entries, key)?)));
    let candidates: Vec<(&str, Id)> = known.filter(|(_, id)| tensors_in(pickle, *id) > 0).collect();
    match candidates[..] {
        [(key, dict)] => state_dict(path, pickle, dict, Some(key)),
        [] if tensors_in(pickle, root) > 0 => state_dict(path, pickle, root, None),
        [] => Err(none(format!("that is known as a model's; it has {}", listed(pickle, entries)))),
        _ => {
            let name =
                |(key, id): &(&str, Id)| format!("`{key}` ({} tensors)", tensors_in(pickle, *id));
            let found = candidates.iter().map(name).collect::<Vec<_>>().join(", ");
            Err(Error::SeveralStateDicts { path: path.to_owned(), found })
        }
    }
}

/// Tensors, readable or not, that are values of the dict at `id`.
fn tensors_in(pickle: &Pickle<'_>, id: Id) -> usize {
    let entries = pickle.dict(id).unwrap_or_default();
    let is_entry =
        |(key, value): &&(Id, Id)| pickle.text(*key).is_some() && is_tensor(pickle, *value);
    entries.iter().filter(is_entry).count()
}

fn state_dict<'p>(
    path: &Path,
    pickle: &Pickle<'p>,
    dict: Id,
    key: Option<&str>,
) -> Result<Found<'p>> {
    let entries = pickle.dict(dict).unwrap_or_default();
    if entries.len() > MAX_ENTRIES {
        let reason =
            format!("its state dict has {} entries, expected at most {MAX_ENTRIES}", entries.len());
        return Err(Error::BadPth { path: path.to_owned(), reason });
    }
    let (mut tensors, mut others) = (Vec::new(), Vec::new());
    for (key, value) in entries {
        match pickle.text(*key) {
            Some(name) if is_tensor(pickle, *value) => tensors.push((name, *value)),
            _ => others.push((*key, *value)),
        }
    }
    let mut notes = Vec::new();
    if let Some(key) = key {
        let mut beside = pickle.dict(pickle.root).unwrap_or_default().to_vec();
        beside.retain(|(name, _)| pickle.text(*name) != Some(key));
        notes.push(match beside.is_empty() {
            true => format!("the state dict is under `{key}`"),
            false => format!("the state dict is under `{key}`, beside {}", listed(pickle, &beside)),
        });
    }
    if !others.is_empty() {
        notes.push(format!("left out what is no tensor: {}", listed(pickle, &others)));
    }
    Ok(Found { tensors, notes })
}

/// Entries of a dict, for messages.
fn listed(pickle: &Pickle<'_>, entries: &[(Id, Id)]) -> String {
    let name = |(key, value): &(Id, Id)| match pickle.text(*key) {
        Some(text) => format!("`{}` ({})", short(text), pickle.describe(*value)),
        None => format!("{} ({})", pickle.describe(*key), pickle.describe(*value)),
    };
    let mut names: Vec<String> = entries.iter().take(SHOWN).map(name).collect();
    if entries.len() > SHOWN {
        names.push(format!("... and {} more", entries.len() - SHOWN));
    }
    if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
}

fn no_dict(pickle: &Pickle<'_>) -> String {
    let found = pickle.describe(pickle.root);
    match pickle.call(pickle.root) {
        Some(_) if !is_tensor(pickle, pickle.root) => format!(
            "but {found}: if that is a model, save its `state_dict()` in Python, which needs the model's code"
        ),
        _ => format!("but {found}"),
    }
}
