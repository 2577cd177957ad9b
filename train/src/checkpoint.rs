use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use candle_core::Tensor;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::tensors::{load_tensors, save_tensors};
use crate::{Error, ModelWriter, Result, RunState};

const FORMAT: u32 = 1;
const MODEL: &str = "model.safetensors";
const OPTIMIZER: &str = "optimizer.safetensors";
const EMA: &str = "ema.safetensors";
const STATE: &str = "state.json";
const STATE_SUM: &str = "state.json.sha256";
const TEMPORARY: &str = ".tmp-step-";

/// `state.json`: the state, and what vouches for the tensors beside it. `state.json.sha256` vouches for this file.
#[derive(Debug, Serialize, Deserialize)]
struct StateFile {
    format: u32,
    code_version: String,
    #[serde(flatten)]
    state: RunState,
    /// SHA-256 of the other files, by name.
    sha256: BTreeMap<String, String>,
}

/// What a checkpoint is written from: handles on the live tensors, which must not change until it is written.
pub struct Snapshot {
    /// What is not tensors.
    pub state: RunState,
    /// Writes the model's file.
    pub model: ModelWriter,
    /// The optimiser's tensors by name.
    pub optimizer: Vec<(String, Tensor)>,
    /// The averaged weights by name, if the run keeps them.
    pub ema: Option<Vec<(String, Tensor)>>,
}

/// The checkpoints of a run: `step-00001200/{model,optimizer}.safetensors + state.json`.
#[derive(Debug, Clone)]
pub struct Checkpoints {
    folder: PathBuf,
}

impl Checkpoints {
    /// The checkpoints below `folder`, which need not exist yet.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// Steps of the checkpoints there are, oldest first.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn steps(&self) -> Result<Vec<u64>> {
        let step = |name: &String| {
            let step = name.strip_prefix("step-")?.parse().ok()?;
            // Only names as written here: `step-1` or `step-+1` are somebody else's.
            (*name == Self::name(step)).then_some(step)
        };
        let mut steps: Vec<u64> = self.names()?.iter().filter_map(step).collect();
        steps.sort_unstable();
        Ok(steps)
    }

    /// What lies in the folder; nothing if it does not exist.
    fn names(&self) -> Result<Vec<String>> {
        let entries = match fs::read_dir(&self.folder) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(Error::io("reading", &self.folder))?,
        };
        let name = |entry: std::io::Result<fs::DirEntry>| Ok(entry?.file_name().into_string().ok());
        let names: std::io::Result<Vec<_>> = entries.map(name).collect();
        Ok(names.map_err(Error::io("reading", &self.folder))?.into_iter().flatten().collect())
    }

    /// Folder of the checkpoint after `step` steps.
    pub fn path(&self, step: u64) -> PathBuf {
        self.folder.join(Self::name(step))
    }

    fn name(step: u64) -> String {
        format!("step-{step:08}")
    }

    /// Writes a checkpoint: first into a temporary folder, flushed to the disk, which is then renamed.
    ///
    /// # Errors
    /// When a file cannot be written; earlier checkpoints are untouched.
    pub fn save(&self, snapshot: Snapshot) -> Result<PathBuf> {
        let step = snapshot.state.step;
        let target = self.path(step);
        let temporary = self.folder.join(format!("{TEMPORARY}{step:08}"));
        let written = write_files(&temporary, snapshot)
            .and_then(|()| replace(&temporary, &target))
            .and_then(|()| sync(&self.folder));
        if written.is_err() {
            // Best effort: what counts is the error of the write itself.
            let _ = fs::remove_dir_all(&temporary);
        }
        written.map(|()| target)
    }

    /// The newest checkpoint whose checksums hold. One that does not verify is passed over with a warning.
    ///
    /// # Errors
    /// When there are checkpoints and none of them verifies, or the folder cannot be read.
    pub fn latest(&self) -> Result<Option<Checkpoint>> {
        let steps = self.steps()?;
        for step in steps.iter().rev() {
            match Checkpoint::open(&self.path(*step)) {
                Ok(checkpoint) => return Ok(Some(checkpoint)),
                Err(error) => tracing::warn!("{error}; trying the one before it"),
            }
        }
        if steps.is_empty() { Ok(None) } else { Err(Error::NoCheckpoint(self.folder.clone())) }
    }

    /// Deletes all but the newest `keep` checkpoints up to step `newest` and those of the steps `wanted`, and what a save
    /// that was cut off left behind. A later one can only be damaged: the run went on from one before it.
    ///
    /// # Errors
    /// When a folder cannot be deleted.
    pub fn prune(&self, keep: usize, newest: u64, wanted: &[Option<u64>]) -> Result<()> {
        for name in self.names()?.iter().filter(|name| name.starts_with(TEMPORARY)) {
            let path = self.folder.join(name);
            fs::remove_dir_all(&path).map_err(Error::io("deleting", &path))?;
        }
        let (later, own): (Vec<u64>, Vec<u64>) =
            self.steps()?.into_iter().partition(|step| *step > newest);
        let old = own.iter().rev().skip(keep.max(1)).filter(|step| !wanted.contains(&Some(**step)));
        for step in later.iter().chain(old) {
            let path = self.path(*step);
            fs::remove_dir_all(&path).map_err(Error::io("deleting", &path))?;
        }
        Ok(())
    }
}

/// A checkpoint whose files were found whole.
#[derive(Debug, Clone)]
pub struct Checkpoint {
    path: PathBuf,
    state: RunState,
    has_ema: bool,
}

impl Checkpoint {
    /// Opens a checkpoint's folder and checks that its files are the ones that were written.
    ///
    /// # Errors
    /// When a file is missing, cut or changed, or a newer version wrote it.
    pub fn open(path: &Path) -> Result<Self> {
        let bad = |problem: String| Error::BadCheckpoint { path: path.to_owned(), problem };
        let text = fs::read(path.join(STATE)).map_err(|e| bad(format!("{STATE}: {e}")))?;
        let sum = fs::read_to_string(path.join(STATE_SUM))
            .map_err(|e| bad(format!("{STATE_SUM}: {e}")))?;
        if sum.split_whitespace().next() != Some(&hex(Sha256::digest(&text))) {
            return Err(bad(format!("{STATE} is not what was saved (its checksum differs)")));
        }
        let file: StateFile = serde_json::from_slice(&text)
            .map_err(|e| bad(format!("{STATE} is not a checkpoint's state: {e}")))?;
        if file.format != FORMAT {
            return Err(bad(format!("format {}, this program reads {FORMAT}", file.format)));
        }
        for name in [MODEL, OPTIMIZER] {
            if !file.sha256.contains_key(name) {
                return Err(bad(format!("{STATE} has no checksum of {name}")));
            }
        }
        for (name, expected) in &file.sha256 {
            if ![MODEL, OPTIMIZER, EMA].contains(&name.as_str()) {
                return Err(bad(format!(
                    "{STATE} names `{name}`, which is no file of a checkpoint"
                )));
            }
            let found = sha256(&path.join(name)).map_err(|e| bad(e.to_string()))?;
            if found != *expected {
                return Err(bad(format!("{name} is not what was saved (its checksum differs)")));
            }
        }
        let has_ema = file.sha256.contains_key(EMA);
        Ok(Self { path: path.to_owned(), state: file.state, has_ema })
    }

    /// The state beside the tensors.
    pub fn state(&self) -> &RunState {
        &self.state
    }

    /// The checkpoint's folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The model's file.
    pub fn model_path(&self) -> PathBuf {
        self.path.join(MODEL)
    }

    /// The optimiser's tensors by name.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn optimizer(&self) -> Result<BTreeMap<String, Tensor>> {
        load_tensors(&self.path.join(OPTIMIZER))
    }

    /// The averaged weights by name, if the run kept them.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn ema(&self) -> Result<Option<BTreeMap<String, Tensor>>> {
        self.has_ema.then(|| load_tensors(&self.path.join(EMA))).transpose()
    }
}

fn write_files(folder: &Path, snapshot: Snapshot) -> Result<()> {
    let Snapshot { state, model, optimizer, ema } = snapshot;
    if folder.exists() {
        fs::remove_dir_all(folder).map_err(Error::io("deleting", folder))?;
    }
    fs::create_dir_all(folder).map_err(Error::io("creating", folder))?;
    model(&folder.join(MODEL)).map_err(|source| Error::Task { step: state.step, source })?;
    save_tensors(&folder.join(OPTIMIZER), &optimizer)?;
    let mut names = vec![MODEL, OPTIMIZER];
    if let Some(ema) = ema {
        save_tensors(&folder.join(EMA), &ema)?;
        names.push(EMA);
    }
    let sha256 = names
        .into_iter()
        .map(|name| Ok((name.to_owned(), sha256(&folder.join(name))?)))
        .collect::<Result<_>>()?;
    let code_version = env!("CARGO_PKG_VERSION").to_owned();
    let file = StateFile { format: FORMAT, code_version, state, sha256 };
    let path = folder.join(STATE);
    let text = serde_json::to_vec_pretty(&file)
        .map_err(|e| Error::io("writing", &path)(std::io::Error::other(e)))?;
    write(&path, &text)?;
    // A line that `sha256sum -c` reads.
    let sum = format!("{}  {STATE}\n", hex(Sha256::digest(&text)));
    write(&folder.join(STATE_SUM), sum.as_bytes())?;
    sync(folder)
}

/// Puts a finished folder in its place; one of the same step that is there gives way.
fn replace(temporary: &Path, target: &Path) -> Result<()> {
    if target.exists() {
        fs::remove_dir_all(target).map_err(Error::io("replacing", target))?;
    }
    fs::rename(temporary, target).map_err(Error::io("creating", target))
}

/// Makes a folder's entries durable, where folders can be opened.
#[cfg(not(unix))]
fn sync(_folder: &Path) -> Result<()> {
    Ok(())
}

/// Makes a folder's entries durable.
#[cfg(unix)]
fn sync(folder: &Path) -> Result<()> {
    File::open(folder).and_then(|dir| dir.sync_all()).map_err(Error::io("flushing", folder))
}

fn sha256(path: &Path) -> Result<String> {
    let mut hasher = Sha256::new();
    let mut file = File::open(path).map_err(Error::io("reading", path))?;
    let mut buffer = vec![0; 1 << 20];
    loop {
        let read = file.read(&mut buffer).map_err(Error::io("reading", path))?;
        if read == 0 {
            break;
        }
        hasher.update(&buffer[..read]);
    }
    Ok(hex(hasher.finalize()))
}

fn hex(bytes: impl AsRef<[u8]>) -> String {
    bytes.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Writes a small file and flushes it.
fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    File::create(path)
        .and_then(|mut out| out.write_all(bytes).and_then(|()| out.sync_all()))
        .map_err(Error::io("writing", path))
}
