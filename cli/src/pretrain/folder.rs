//! The folder of a run.

use std::fs::{self, File, TryLockError};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use longmae_train::{Checkpoint, Checkpoints};
use toml::Table;

use super::{Args, Asked};
use crate::exit::usage;
use crate::recipe;
use crate::settings::Settings;

/// Settings that may change when a run goes on: they change how it runs, not what it computes.
const FREE: [&str; 8] = [
    "workers",
    "threads",
    "save_every",
    "keep",
    "keep_best",
    "pictures_every",
    "log_every",
    "max_corrupt",
];

/// Every setting of a run.
pub const RECIPE: &str = "recipe.toml";
/// What was measured, a line each.
pub const METRICS: &str = "metrics.jsonl";
/// The folder of pictures.
pub const RECONSTRUCTIONS: &str = "reconstructions";

/// How a run begins.
pub enum Start {
    /// In a new folder: the one named by `--out`, or one named for recipe and time.
    Fresh(Place),
    /// In the folder of a run that was begun.
    Resume(Box<Begun>),
}

/// Where a new run goes.
pub enum Place {
    /// Exactly here.
    Out(PathBuf),
    /// Here, or beside it if another run was begun in the same second.
    Near(PathBuf),
}

impl Place {
    fn choose(args: &Args, asked: &Asked) -> Self {
        args.out.clone().map_or_else(|| Self::Near(new_path(&asked.name)), Self::Out)
    }
}

/// A run that was begun.
pub struct Begun {
    path: PathBuf,
    recipe: Table,
}

/// Decides where the run goes, from `--out` and `--resume`.
pub fn choose(args: &Args, asked: &Asked) -> anyhow::Result<Start> {
    match args.resume.as_deref() {
        None | Some("none") => Ok(Start::Fresh(Place::choose(args, asked))),
        Some("auto") => match args.out.clone().or_else(|| newest(&asked.name)) {
            Some(path) if holds_run(&path) => resume(path, asked),
            _ => Ok(Start::Fresh(Place::choose(args, asked))),
        },
        Some(folder) => {
            if args.out.as_ref().is_some_and(|out| out != Path::new(folder)) {
                return Err(usage("--resume FOLDER goes on in that folder: leave --out away"));
            }
            let path = PathBuf::from(folder);
            if !path.is_dir() {
                bail!("--resume {folder}: no such folder");
            }
            if !holds_run(&path) {
                bail!("--resume {folder}: this folder holds no run (no recipe.toml)");
            }
            resume(path, asked)
        }
    }
}

/// Goes on with a run. What was asked for, a recipe included, must be what it was begun with.
fn resume(path: PathBuf, asked: &Asked) -> anyhow::Result<Start> {
    let file = path.join(RECIPE);
    let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    // A damaged file on the disk is no mistake of the arguments.
    let recipe = recipe::parse(&file.display().to_string(), &text);
    let begun = Begun { recipe: recipe.map_err(|e| anyhow::anyhow!("{e}"))?, path };
    begun.check(asked.explicit())?;
    Ok(Start::Resume(Box::new(begun)))
}

impl Begun {
    /// The run's name, its folder's.
    pub fn name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// The run's own settings, with those typed now that may change.
    pub fn settings(&self, typed: &Table) -> anyhow::Result<Settings> {
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
            self.path.display(),
            differ.join("; ")
        );
    }
}

impl Start {
    /// Refuses to begin where a run is.
    pub fn check(&self) -> anyhow::Result<()> {
        match self {
            Self::Fresh(Place::Out(path)) if holds_run(path) => Err(taken(path)),
            _ => Ok(()),
        }
    }

    /// Creates the folder, or opens it; tells whether checkpoints are to be looked for.
    pub fn open(self, recipe: &str) -> anyhow::Result<(RunFolder, bool)> {
        match self {
            Self::Resume(begun) => {
                let file = begun.path.join(RECIPE);
                let lock = File::open(&file).with_context(|| file.display().to_string())?;
                Ok((RunFolder::lock(begun.path, lock)?, true))
            }
            Self::Fresh(place) => {
                let path = create(place)?;
                let file = path.join(RECIPE);
                let mut lock = match File::create_new(&file) {
                    Err(e) if e.kind() == ErrorKind::AlreadyExists => return Err(taken(&path)),
                    lock => lock.with_context(|| format!("cannot create {}", file.display()))?,
                };
                if let Err(e) = lock.write_all(recipe.as_bytes()).and_then(|()| lock.sync_all()) {
                    // Half a recipe would look like a run.
                    let _ = fs::remove_file(&file);
                    return Err(anyhow::Error::from(e).context(file.display().to_string()));
                }
                Ok((RunFolder::lock(path, lock)?, false))
            }
        }
    }
}

fn taken(path: &Path) -> anyhow::Error {
    let path = path.display();
    anyhow::anyhow!(
        "{path} already holds a run: go on with it by --resume {path}, or give another --out"
    )
}

/// Creates a run's folder.
fn create(place: Place) -> anyhow::Result<PathBuf> {
    let path = match place {
        Place::Out(path) => {
            fs::create_dir_all(&path)
                .with_context(|| format!("cannot create {}", path.display()))?;
            return Ok(path);
        }
        Place::Near(path) => path,
    };
    let context = || format!("cannot create {}", path.display());
    fs::create_dir_all(path.parent().unwrap_or(Path::new("."))).with_context(context)?;
    let mut attempt = path.clone();
    for number in 2.. {
        match fs::create_dir(&attempt) {
            Err(e) if e.kind() == ErrorKind::AlreadyExists => {
                attempt = PathBuf::from(format!("{}-{number}", path.display()));
            }
            created => {
                created.with_context(context)?;
                break;
            }
        }
    }
    Ok(attempt)
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
        .filter(|file| {
            file.strip_prefix(&prefix).and_then(|rest| rest.get(..15)).is_some_and(is_time)
        })
        .max()
        .map(|file| Path::new("runs").join(file))
}

/// Whether a folder has anything of a run in it.
fn holds_run(path: &Path) -> bool {
    [RECIPE, "checkpoints", "encoder.safetensors", METRICS]
        .iter()
        .any(|name| path.join(name).exists())
}

/// What lies where in a run's folder. While it is held, no other process can train there.
#[derive(Debug, Clone)]
pub struct RunFolder {
    path: PathBuf,
    _lock: Arc<File>,
}

impl RunFolder {
    fn lock(path: PathBuf, lock: File) -> anyhow::Result<Self> {
        match lock.try_lock() {
            // A file system without locks cannot tell.
            Ok(()) | Err(TryLockError::Error(_)) => Ok(Self { path, _lock: Arc::new(lock) }),
            Err(TryLockError::WouldBlock) => {
                bail!("another process is training in {}", path.display())
            }
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn metrics_path(&self) -> PathBuf {
        self.path.join(METRICS)
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
        self.path.join(RECONSTRUCTIONS).join(format!("step-{step:08}.png"))
    }

    /// The newest checkpoint that verifies; none in a run that was cut off before its first.
    pub fn latest_checkpoint(&self) -> anyhow::Result<Option<Checkpoint>> {
        Ok(Checkpoints::new(self.checkpoints()).latest()?)
    }

    /// What is where, for the end of a run.
    pub fn contents(&self) -> String {
        let path = self.path.display();
        let averaged = self.path.join("encoder-ema.safetensors").exists();
        let average = if averaged { "; encoder-ema.safetensors its average" } else { "" };
        format!(
            "everything is in {path}:\n  \
             encoder.safetensors  the pre-trained encoder{average}\n  \
             checkpoints/         whole model and optimiser\n  \
             loss.svg             the loss curve\n  \
             reconstructions/     what the model sees and predicts\n  \
             metrics.jsonl        every step; events.out.tfevents.* is the same for TensorBoard\n  \
             recipe.toml          every setting; log.txt what was said"
        )
    }
}
