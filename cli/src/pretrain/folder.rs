//! The folder of a run.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use longmae_train::{Checkpoint, Checkpoints};
use toml::Table;

use super::{Args, Asked};
use crate::exit::usage;
use crate::recipe;
use crate::settings::Settings;

/// Settings that may change when a run goes on: they change how it runs, not what it computes.
const FREE: [&str; 6] = ["workers", "threads", "save_every", "keep", "log_every", "max_corrupt"];

/// How a run begins.
pub enum Start {
    /// In a folder that holds no run yet.
    Fresh(PathBuf),
    /// In the folder of a run that was begun.
    Resume(Box<Begun>),
}

/// A run that was begun.
pub struct Begun {
    folder: RunFolder,
    recipe: Table,
}

/// Decides where the run goes, from `--out` and `--resume`.
pub fn choose(args: &Args, asked: &Asked) -> anyhow::Result<Start> {
    match args.resume.as_deref() {
        None | Some("none") => {
            let path = args.out.clone().unwrap_or_else(|| new_path(&asked.name));
            if RunFolder::holds_run(&path) {
                bail!(
                    "{} already holds a run: go on with it by --resume {}, or give another --out",
                    path.display(),
                    path.display()
                );
            }
            Ok(Start::Fresh(path))
        }
        Some("auto") => {
            let path = args.out.clone().or_else(|| newest(&asked.name));
            match path {
                Some(path) if RunFolder::holds_run(&path) => resume(path, Some(&asked.table)),
                Some(path) => Ok(Start::Fresh(path)),
                None => Ok(Start::Fresh(new_path(&asked.name))),
            }
        }
        Some(folder) => {
            if args.out.as_ref().is_some_and(|out| out != Path::new(folder)) {
                return Err(usage("--resume FOLDER goes on in that folder: leave --out away"));
            }
            let path = PathBuf::from(folder);
            if !path.is_dir() {
                bail!("--resume {folder}: no such folder");
            }
            if !RunFolder::holds_run(&path) {
                bail!("--resume {folder}: this folder holds no run (no recipe.toml)");
            }
            let asked_recipe = args.recipe.is_some().then_some(&asked.table);
            resume(path, asked_recipe)
        }
    }
}

/// Goes on with a run; `asked` are settings that it must have been begun with.
fn resume(path: PathBuf, asked: Option<&Table>) -> anyhow::Result<Start> {
    let folder = RunFolder { path };
    let file = folder.recipe_path();
    let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    let begun = Begun { recipe: recipe::parse(&file.display().to_string(), &text)?, folder };
    if let Some(asked) = asked {
        begun.check(asked)?;
    }
    Ok(Start::Resume(Box::new(begun)))
}

impl Begun {
    /// The run's own settings, with those typed now that may change.
    pub fn settings(&self, typed: &Table) -> anyhow::Result<Settings> {
        self.check(typed)?;
        let mut table = self.recipe.clone();
        let free = typed.iter().filter(|(key, _)| FREE.contains(&key.as_str()));
        table.extend(free.map(|(key, value)| (key.clone(), value.clone())));
        Settings::resolve(recipe::to_flags("recipe.toml", &table)?)
    }

    /// Refuses settings that differ from those the run was begun with.
    fn check(&self, asked: &Table) -> anyhow::Result<()> {
        // Both sides through the same types, so that 1 and 1.0 are equal.
        let asked = recipe::to_table(&recipe::to_flags("now", asked)?)?;
        let differ: Vec<String> = asked
            .iter()
            .filter(|(key, value)| {
                !FREE.contains(&key.as_str()) && self.recipe.get(*key) != Some(*value)
            })
            .map(|(key, value)| {
                let was = self.recipe.get(key).map_or("not set".to_owned(), ToString::to_string);
                format!("{key} was {was}, now {value}")
            })
            .collect();
        if differ.is_empty() {
            return Ok(());
        }
        bail!(
            "{} was begun with other settings: {}; leave them away, or start a new run",
            self.folder.path.display(),
            differ.join("; ")
        );
    }
}

impl Start {
    /// Creates the folder, or opens it; tells whether checkpoints are to be looked for.
    pub fn open(self, recipe: &str) -> anyhow::Result<(RunFolder, bool)> {
        match self {
            Self::Resume(begun) => Ok((begun.folder, true)),
            Self::Fresh(path) => {
                let folder = RunFolder { path };
                fs::create_dir_all(&folder.path)
                    .with_context(|| format!("cannot create {}", folder.path.display()))?;
                longmae_report::write_atomic(folder.recipe_path(), recipe.as_bytes())?;
                Ok((folder, false))
            }
        }
    }
}

/// `runs/NAME-UTCTIME`.
fn new_path(name: &str) -> PathBuf {
    let time = jiff::Timestamp::now().strftime("%Y%m%d-%H%M%S");
    Path::new("runs").join(format!("{name}-{time}"))
}

/// The newest run of a recipe below `runs`.
fn newest(name: &str) -> Option<PathBuf> {
    let prefix = format!("{name}-");
    let is_time =
        |text: &str| text.len() == 15 && text.bytes().all(|b| b.is_ascii_digit() || b == b'-');
    fs::read_dir("runs")
        .ok()?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|file| file.strip_prefix(&prefix).is_some_and(is_time))
        .max()
        .map(|file| Path::new("runs").join(file))
}

/// What lies where in a run's folder.
#[derive(Debug, Clone)]
pub struct RunFolder {
    path: PathBuf,
}

impl RunFolder {
    fn holds_run(path: &Path) -> bool {
        path.join("recipe.toml").exists() || path.join("checkpoints").exists()
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    fn recipe_path(&self) -> PathBuf {
        self.path.join("recipe.toml")
    }

    pub fn metrics_path(&self) -> PathBuf {
        self.path.join("metrics.jsonl")
    }

    pub fn log_path(&self) -> PathBuf {
        self.path.join("log.txt")
    }

    pub fn loss_path(&self) -> PathBuf {
        self.path.join("loss.svg")
    }

    pub fn checkpoints(&self) -> PathBuf {
        self.path.join("checkpoints")
    }

    /// The picture made after `step` steps.
    pub fn picture_path(&self, step: u64) -> PathBuf {
        self.path.join("reconstructions").join(format!("step-{step:08}.png"))
    }

    /// The newest checkpoint that verifies; none in a run that was cut off before its first.
    pub fn latest_checkpoint(&self) -> anyhow::Result<Option<Checkpoint>> {
        Ok(Checkpoints::new(self.checkpoints()).latest()?)
    }

    /// What is where, for the end of a run.
    pub fn contents(&self) -> String {
        let path = self.path.display();
        format!(
            "everything is in {path}:\n  \
             encoder.safetensors  the pre-trained encoder\n  \
             checkpoints/         whole model and optimiser\n  \
             loss.svg             the loss curve\n  \
             reconstructions/     what the model sees and predicts\n  \
             metrics.jsonl        every step; events.out.tfevents.* is the same for TensorBoard\n  \
             recipe.toml          every setting; log.txt what was said"
        )
    }
}
