//! The folder of a run.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, bail};
use longmae_report::write_atomic;
use longmae_train::{Checkpoint, Checkpoints};

use super::changes::{Allowed, Change, Changes, History, Request};
use super::recipe_file::RecipeFile;
use super::{Args, Asked, RunSettings};
use crate::exit::usage;
use crate::recipe;

/// Every setting of a run.
pub const RECIPE: &str = "recipe.toml";
/// What was measured, a line each.
pub const METRICS: &str = "metrics.jsonl";
/// The folder of pictures.
pub const RECONSTRUCTIONS: &str = "reconstructions";
/// The pre-trained encoder, written at a run's end.
pub const ENCODER: &str = "encoder.safetensors";
/// The fine-tuned classifier, written at a run's end.
pub const CLASSIFIER: &str = "classifier.safetensors";
/// A linear probe with its encoder, written at its end.
pub const PROBE: &str = "probe.safetensors";
/// A detector, written at its end.
pub const DETECTOR: &str = "detector.safetensors";
/// The loss curve.
pub const LOSS: &str = "loss.svg";
const CHANGES: &str = "changes.jsonl";
/// The folder of checkpoints.
pub const CHECKPOINTS: &str = "checkpoints";

/// How a run begins.
pub enum Start<S> {
    /// In a new folder: the one named by `--out`, or one named for recipe and time.
    Fresh(Place),
    /// In the folder of a run that was begun.
    Resume(Box<Begun<S>>),
}

/// Where a new run goes.
pub enum Place {
    /// Exactly here.
    Out(PathBuf),
    /// Here, or beside it if another run was begun in the same second.
    Near(PathBuf),
}

impl Place {
    fn choose<S: RunSettings>(args: &Args<S::Flags>, asked: &Asked) -> Self {
        args.out.clone().map_or_else(|| Self::Near(new_path(&asked.name)), Self::Out)
    }
}

/// A run that was begun.
pub struct Begun<S> {
    path: PathBuf,
    /// Its `recipe.toml`.
    recipe: String,
    settings: S,
    changes: Changes,
}

/// Decides where the run goes, from `--out` and `--resume`.
pub fn choose<S: RunSettings>(
    args: &Args<S::Flags>,
    asked: &Asked,
    allowed: &Allowed,
) -> anyhow::Result<Start<S>> {
    match args.resume.as_deref() {
        None | Some("none") => Ok(Start::Fresh(Place::choose::<S>(args, asked))),
        Some("auto") => match args.out.clone().or_else(|| newest(&asked.name)) {
            Some(path) if holds_run(&path) => resume(path, &asked.request(allowed)),
            _ => Ok(Start::Fresh(Place::choose::<S>(args, asked))),
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
            resume(path, &asked.request(allowed))
        }
    }
}

/// Goes on with a run. What was asked for, a recipe included, must be what it was begun with, or be allowed to differ.
fn resume<S: RunSettings>(path: PathBuf, request: &Request<'_>) -> anyhow::Result<Start<S>> {
    let file = path.join(RECIPE);
    let recipe = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    // A damaged file on the disk is no mistake of the arguments.
    let stored = recipe::parse::<S::Flags>(&file.display().to_string(), &recipe, S::COMMAND)
        .map_err(|e| anyhow::anyhow!("{e}"))?;
    let (settings, changes) = Changes::make(&path, &stored, request)?;
    Ok(Start::Resume(Box::new(Begun { path, recipe, settings, changes })))
}

impl<S> Begun<S> {
    /// The run's name, its folder's.
    pub fn name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Whether anything of it was saved.
    pub fn has_checkpoint(&self) -> anyhow::Result<bool> {
        Ok(Checkpoints::new(self.path.join(CHECKPOINTS)).latest()?.is_some())
    }

    /// The run's own settings, with those that changed now.
    pub fn settings(&self) -> &S {
        &self.settings
    }
}

impl<S> Start<S> {
    /// Refuses to begin where a run is.
    pub fn check(&self) -> anyhow::Result<()> {
        match self {
            Self::Fresh(Place::Out(path)) if holds_run(path) => Err(taken(path)),
            _ => Ok(()),
        }
    }

    /// Creates the folder, or opens it; then with what changed, and checkpoints are to be looked for.
    pub fn open(self, recipe: &str) -> anyhow::Result<(RunFolder, Option<Changes>)> {
        match self {
            Self::Resume(begun) => {
                let Begun { path, recipe, changes, .. } = *begun;
                let lock = RecipeFile::open(&path.join(RECIPE), &recipe)?;
                [path.clone(), path.join(CHECKPOINTS), path.join(RECONSTRUCTIONS)]
                    .iter()
                    .for_each(|folder| sweep(folder));
                Ok((RunFolder::new(path, lock), Some(changes)))
            }
            Self::Fresh(place) => {
                let path = create(place)?;
                let Some(lock) = RecipeFile::create(&path.join(RECIPE), recipe)? else {
                    return Err(taken(&path));
                };
                Ok((RunFolder::new(path, lock), None))
            }
        }
    }
}

/// Deletes what a killed session was writing: whatever is renamed once it is whole is called `.tmp-...` until then. A
/// half-written checkpoint could take the room that the next one needs.
fn sweep(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in
        entries.flatten().filter(|e| e.file_name().as_encoded_bytes().starts_with(b".tmp-"))
    {
        let path = entry.path();
        // Best effort: what cannot be deleted cannot be written either, and that is said where it is tried.
        let _ = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
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
        // One that was cut off before it wrote anything is none.
        .filter(|file| holds_run(&Path::new("runs").join(file)))
        .max()
        .map(|file| Path::new("runs").join(file))
}

/// Makes a folder for what is no run, before any work is done; one that holds a run is refused.
pub fn prepare_out(path: &Path) -> anyhow::Result<()> {
    if holds_run(path) {
        let path = path.display();
        bail!("--out {path}: this folder holds a run or a probe; give another one");
    }
    fs::create_dir_all(path).with_context(|| format!("cannot create {}", path.display()))
}

/// Whether a folder has anything of a run in it.
fn holds_run(path: &Path) -> bool {
    [RECIPE, CHECKPOINTS, ENCODER, CLASSIFIER, PROBE, DETECTOR, METRICS]
        .iter()
        .any(|name| path.join(name).exists())
}

/// What lies where in a run's folder. While it is held, no other process can train there.
#[derive(Debug, Clone)]
pub struct RunFolder {
    path: PathBuf,
    lock: Arc<Mutex<RecipeFile>>,
}

impl RunFolder {
    fn new(path: PathBuf, lock: RecipeFile) -> Self {
        Self { path, lock: Arc::new(Mutex::new(lock)) }
    }

    /// The changes that were allowed in earlier sessions.
    pub fn history(&self) -> anyhow::Result<History> {
        let file = self.path.join(CHANGES);
        match fs::read_to_string(&file) {
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(History::default()),
            text => Ok(History::parse(&text.with_context(|| file.display().to_string())?)),
        }
    }

    /// Makes changes the run's own: first its history has them, then `recipe.toml`. What is cut off in between is as if
    /// it had not been.
    pub fn change(
        &self,
        mut history: History,
        step: u64,
        changes: &[Change],
        recipe: &str,
    ) -> anyhow::Result<()> {
        history.add(step, changes);
        let file = self.path.join(CHANGES);
        write_atomic(&file, history.text()?.as_bytes())?;
        // On the disk before the recipe that it vouches for.
        File::open(&file)
            .and_then(|file| file.sync_all())
            .with_context(|| file.display().to_string())?;
        let mut lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        lock.replace(recipe)
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
        self.path.join(LOSS)
    }

    pub fn checkpoints(&self) -> PathBuf {
        self.path.join(CHECKPOINTS)
    }

    /// The picture made after `step` steps.
    pub fn picture_path(&self, step: u64) -> PathBuf {
        self.path.join(RECONSTRUCTIONS).join(format!("step-{step:08}.png"))
    }

    /// The newest checkpoint that verifies; none in a run that was cut off before its first.
    pub fn latest_checkpoint(&self) -> anyhow::Result<Option<Checkpoint>> {
        Ok(Checkpoints::new(self.checkpoints()).latest()?)
    }
}
