//! Which settings may change when a run goes on.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;

use anyhow::bail;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use toml::{Table, Value};

use super::settings::{self, RunSettings, default_val_every};
use crate::exit::usage;
use crate::recipe;

/// Settings of all kinds of runs that can never change.
const FIXED: [&str; 16] = [
    "model",
    "encoder_dim",
    "encoder_depth",
    "encoder_heads",
    "mlp_ratio",
    "layer_norm_eps",
    "image_size",
    "patch_size",
    "channels",
    "no_k_bias",
    "effective_batch_size",
    "repeat",
    "aug_repeats",
    "synthetic_images",
    "val_share",
    "seed",
];

fn is_free<S: RunSettings>(key: &str) -> bool {
    settings::FREE.contains(&key) || S::FREE.contains(&key)
}

fn is_fixed<S: RunSettings>(key: &str) -> bool {
    FIXED.contains(&key) || S::FIXED.contains(&key)
}

/// The keys of `--allow-changes`.
#[derive(Debug, Clone, Default)]
pub struct Allowed(Vec<String>);

impl Allowed {
    /// Checks the keys; `resumes` is whether `--resume` was given.
    pub fn new<S: RunSettings>(keys: &[String], resumes: bool) -> anyhow::Result<Self> {
        let keys: Vec<String> = keys.iter().map(|key| key.trim().replace('-', "_")).collect();
        if !keys.is_empty() && !resumes {
            return Err(usage("--allow-changes is for a run that goes on: give --resume too"));
        }
        recipe::check_keys::<S::Flags>("--allow-changes", &keys)?;
        for key in &keys {
            if is_fixed::<S>(key) {
                return Err(usage(format!(
                    "--allow-changes {key}: a run keeps it to its end; start a new run (--init-weights RUN takes \
                     the weights over)"
                )));
            }
        }
        Ok(Self(keys))
    }

    fn names(&self, key: &str) -> bool {
        self.0.iter().any(|allowed| allowed == key)
    }
}

/// A setting that is not what it was.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    key: String,
    was: Option<Value>,
    now: Option<Value>,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text =
            |value: &Option<Value>| value.as_ref().map_or("not set".into(), Value::to_string);
        write!(f, "{} was {}, now {}", self.key, text(&self.was), text(&self.now))
    }
}

impl Change {
    /// All that differ, those left out that may always.
    fn all<S: RunSettings>(was: &Table, now: &Table) -> Vec<Self> {
        let added = now.keys().filter(|key| !was.contains_key(*key));
        let mut keys: Vec<&String> =
            was.keys().chain(added).filter(|key| !is_free::<S>(key)).collect();
        keys.sort();
        let of = |table: &Table, key: &str| table.get(key).cloned();
        keys.into_iter()
            .map(|key| Self { key: key.clone(), was: of(was, key), now: of(now, key) })
            .filter(|change| change.was != change.now)
            .collect()
    }

    fn is_fixed<S: RunSettings>(&self) -> bool {
        is_fixed::<S>(&self.key)
    }
}

fn list(changes: &[Change]) -> String {
    changes.iter().map(Change::to_string).collect::<Vec<_>>().join("; ")
}

/// What was asked for when a run was to go on.
pub struct Request<'a> {
    /// What was asked for in so many words, a recipe that was named included.
    pub explicit: &'a Table,
    /// Whether a recipe was named: what it leaves out is at its default.
    pub whole: bool,
    /// What the command line alone set.
    pub typed: &'a Table,
    /// What may differ.
    pub allowed: &'a Allowed,
}

/// A run's settings now, and how they differ from its `recipe.toml`.
#[derive(Debug)]
pub struct Changes {
    allowed: Allowed,
    now: Table,
    made: Vec<Change>,
}

impl Changes {
    /// The settings of a run that goes on, whose folder's recipe is `stored`.
    pub fn make<S: RunSettings>(
        place: &Path,
        stored: &Table,
        request: &Request<'_>,
    ) -> anyhow::Result<(S, Self)> {
        let was = resolved::<S>(stored)?;
        // Both sides through the same types, so that 1 and 1.0 are equal.
        let asked = recipe::to_table(&recipe::to_flags::<S::Flags>("now", request.explicit)?)?;
        let wanted: Table = asked
            .iter()
            .filter(|(key, value)| !is_free::<S>(key) && was.get(*key) != Some(*value))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        let refused: Vec<Change> = Change::all::<S>(&was, &overlaid(&was, &wanted))
            .into_iter()
            .filter(|c| wanted.contains_key(&c.key) && !request.allowed.names(&c.key))
            .collect();
        if !refused.is_empty() {
            return Err(refuse::<S>(place, &refused));
        }
        let mut table = merged(&was, &wanted, &asked, request);
        let free = request.typed.iter().filter(|(key, _)| is_free::<S>(key));
        table.extend(free.map(|(key, value)| (key.clone(), value.clone())));
        let settings = S::resolve(recipe::to_flags("recipe.toml", &table)?)?;
        let now = recipe::to_table(settings.flags())?;
        let made = Change::all::<S>(&was, &now);
        let fixed: Vec<Change> = made.iter().filter(|c| c.is_fixed::<S>()).cloned().collect();
        if !fixed.is_empty() {
            return Err(refuse::<S>(place, &fixed));
        }
        Ok((settings, Self { allowed: request.allowed.clone(), now, made }))
    }

    /// What differs from the recipe in the run's folder.
    pub fn made(&self) -> &[Change] {
        &self.made
    }

    /// What differs from the recipe that a checkpoint was trained with and from the one in the run's folder; an error if
    /// some of that was never allowed, as where `recipe.toml` was edited by hand.
    ///
    /// A change that was allowed once, but cut off before a checkpoint had it, is known from the history.
    pub fn since<S: RunSettings>(
        &self,
        checkpoint: &str,
        history: &History,
    ) -> anyhow::Result<Vec<Change>> {
        let then: Table = checkpoint.parse()?;
        // One that this program refuses is compared as it stands.
        let then = resolved::<S>(&then).unwrap_or(then);
        let older: Vec<Change> = Change::all::<S>(&then, &self.now)
            .into_iter()
            .filter(|change| self.made.iter().all(|made| made.key != change.key))
            .filter(|change| !history.allows(change))
            .collect();
        let allowed = |change: &Change| self.allowed.names(&change.key) && !change.is_fixed::<S>();
        let refused: Vec<Change> = older.iter().filter(|c| !allowed(c)).cloned().collect();
        if !refused.is_empty() {
            bail!(
                "recipe.toml is not what the checkpoint was trained with: {}; put it back, or name what may change by \
                 --allow-changes",
                list(&refused)
            );
        }
        Ok(self.made.iter().cloned().chain(older).collect())
    }
}

fn refuse<S: RunSettings>(place: &Path, refused: &[Change]) -> anyhow::Error {
    let fixed: Vec<&str> =
        refused.iter().filter(|c| c.is_fixed::<S>()).map(|c| c.key.as_str()).collect();
    let advice = match fixed.as_slice() {
        [] => "name them by --allow-changes, or start a new run".to_owned(),
        fixed => {
            format!("or start a new run (a run that goes on always keeps {})", fixed.join(", "))
        }
    };
    anyhow::anyhow!(
        "{} was begun with other settings: {}; leave them away, {advice}",
        place.display(),
        list(refused)
    )
}

/// A recipe with every default of this program filled in.
fn resolved<S: RunSettings>(recipe: &Table) -> anyhow::Result<Table> {
    recipe::to_table(S::resolve(recipe::to_flags("recipe.toml", recipe)?)?.flags())
}

fn overlaid(lower: &Table, upper: &Table) -> Table {
    let mut table = lower.clone();
    table.extend(upper.clone());
    table
}

/// The run's settings with what is asked for over them. What followed from a setting that changed is left out, to follow
/// from it again.
fn merged(was: &Table, wanted: &Table, asked: &Table, request: &Request<'_>) -> Table {
    let mut wanted = wanted.clone();
    // Two of these three give the third: which ones were asked for counts, even if only one of them is new.
    let sizes = ["batch_size", "accum_iter", "effective_batch_size"];
    if sizes.iter().any(|key| wanted.contains_key(*key)) {
        let again = asked.iter().filter(|(key, _)| sizes.contains(&key.as_str()));
        wanted.extend(again.map(|(key, value)| (key.clone(), value.clone())));
    }
    let mut table = was.clone();
    recipe::overlay(&mut table, &wanted);
    if request.whole {
        for key in request.allowed.0.iter().filter(|key| !asked.contains_key(*key)) {
            table.remove(key);
        }
    }
    let epochs = |table: &Table| table.get("epochs").and_then(Value::as_float);
    let every = was.get("val_every").and_then(Value::as_integer);
    let followed = epochs(was).map(|epochs| default_val_every(epochs) as i64) == every;
    if followed && !wanted.contains_key("val_every") && epochs(&table) != epochs(was) {
        table.remove("val_every");
    }
    table
}

/// The changes of a run that were allowed, as its folder keeps them: one JSON object a line.
#[derive(Debug, Default)]
pub struct History {
    lines: Vec<Line>,
    /// What each key was changed to last.
    latest: HashMap<String, Json>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Line {
    /// Steps done when it changed.
    step: u64,
    key: String,
    was: Json,
    now: Json,
}

impl History {
    /// Reads a history; a line that is none is passed over.
    pub fn parse(text: &str) -> Self {
        let mut history = Self::default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).for_each(|line| {
            history.push(line);
        });
        history
    }

    /// Adds changes made after `step` steps.
    pub fn add(&mut self, step: u64, changes: &[Change]) {
        for Change { key, was, now } in changes {
            self.push(Line { step, key: key.clone(), was: json(was), now: json(now) });
        }
    }

    /// The history as it is written.
    pub fn text(&self) -> anyhow::Result<String> {
        let lines: Result<Vec<String>, _> = self.lines.iter().map(serde_json::to_string).collect();
        Ok(lines?.join("\n") + "\n")
    }

    fn push(&mut self, line: Line) {
        self.latest.insert(line.key.clone(), line.now.clone());
        self.lines.push(line);
    }

    fn allows(&self, change: &Change) -> bool {
        self.latest.get(&change.key) == Some(&json(&change.now))
    }
}

/// Null for what is not set.
fn json(value: &Option<Value>) -> Json {
    value.as_ref().map_or(Json::Null, |value| serde_json::to_value(value).unwrap_or(Json::Null))
}
