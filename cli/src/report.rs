//! `longmae report`: one page about one or more runs.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{BufReader, ErrorKind};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use longmae_report::{History, MOST_PICTURES, Picture, Run, evenly_spaced, page, write_atomic};
use toml::{Table, Value};

use crate::exit::usage;
use crate::output::line;
use crate::pretrain::Settings;
use crate::recipe;
use crate::run::{METRICS, RECIPE, RECONSTRUCTIONS, RunSettings};

/// The page's name, where none is asked for.
const PAGE: &str = "report.html";

#[derive(clap::Args)]
pub struct Args {
    /// Folders of runs; one that is still training is shown as far as it has come
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// The page's file (default: report.html, in the run's folder if there is one run)
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    refuse_repeated(&args.runs)?;
    let names = names(&args.runs);
    let runs = args.runs.iter().zip(names).map(|(path, name)| read(path, name));
    let text = page(&runs.collect::<anyhow::Result<Vec<Run>>>()?)?;
    let out = args.out.clone().unwrap_or_else(|| match args.runs.as_slice() {
        [run] => run.join(PAGE),
        _ => PathBuf::from(PAGE),
    });
    write_atomic(&out, text.as_bytes())?;
    line(format!("report: {} ({:.1} MB)", out.display(), text.len() as f64 / 1e6));
    Ok(())
}

/// The same folder twice would be two curves on each other.
fn refuse_repeated(paths: &[PathBuf]) -> anyhow::Result<()> {
    let mut seen = HashSet::new();
    for path in paths {
        // What does not exist is told of when it is read.
        if fs::canonicalize(path).is_ok_and(|real| !seen.insert(real)) {
            return Err(usage(format!("{} is given twice", path.display())));
        }
    }
    Ok(())
}

/// The runs' names: their folders', or the whole paths of those whose folders are called the same.
fn names(paths: &[PathBuf]) -> Vec<String> {
    let short = |path: &PathBuf| {
        let real = fs::canonicalize(path).unwrap_or_else(|_| path.clone());
        real.file_name().unwrap_or(real.as_os_str()).to_string_lossy().into_owned()
    };
    let all: Vec<String> = paths.iter().map(short).collect();
    let unique = |name: &String| all.iter().filter(|other| *other == name).count() == 1;
    let choose = |(path, name): (&PathBuf, &String)| {
        if unique(name) { name.clone() } else { path.display().to_string() }
    };
    paths.iter().zip(&all).map(choose).collect()
}

/// Reads a run's folder, as far as the run has come.
fn read(path: &Path, name: String) -> anyhow::Result<Run> {
    let shown = path.display();
    if !path.is_dir() {
        bail!("{shown}: no such folder");
    }
    let recipe = read_recipe(&path.join(RECIPE))?;
    let history = read_history(&path.join(METRICS))?;
    if recipe.is_none() && history.is_none() {
        bail!("{shown}: this folder holds no run (neither {RECIPE} nor {METRICS})");
    }
    let (recipe, history) = (recipe.unwrap_or_default(), history.unwrap_or_default());
    // A recipe of another version may have settings that this one does not know.
    let settings = recipe::to_flags(RECIPE, &recipe).and_then(Settings::resolve).ok();
    Ok(Run {
        name,
        facts: facts(&recipe, settings.as_ref()),
        // Only the first step tells how long an epoch is.
        planned_steps: settings
            .and_then(|settings| Some(settings.common.total_steps(history.steps_per_epoch()?))),
        recipe: recipe.iter().map(|(key, value)| (key.clone(), plain(value))).collect(),
        history,
        pictures: read_pictures(&path.join(RECONSTRUCTIONS))?,
    })
}

/// Opens a file, if it is there.
fn open(path: &Path) -> anyhow::Result<Option<File>> {
    match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        file => Ok(Some(file.with_context(|| path.display().to_string())?)),
    }
}

fn read_recipe(path: &Path) -> anyhow::Result<Option<Table>> {
    let Some(file) = open(path)? else { return Ok(None) };
    let text = std::io::read_to_string(file).with_context(|| path.display().to_string())?;
    match text.parse::<Table>() {
        Ok(table) => Ok(Some(table)),
        Err(error) => bail!("{} is not TOML: {}", path.display(), error.message()),
    }
}

fn read_history(path: &Path) -> anyhow::Result<Option<History>> {
    let Some(file) = open(path)? else { return Ok(None) };
    let history = History::read(BufReader::new(file));
    Ok(Some(history.with_context(|| path.display().to_string())?))
}

/// What is worth knowing first of a run.
fn facts(recipe: &Table, settings: Option<&Settings>) -> Vec<(String, String)> {
    let mut facts = Vec::new();
    let mut fact = |name: &str, value: String| facts.push((name.to_owned(), value));
    for key in ["model", "data"] {
        if let Some(value) = recipe.get(key) {
            fact(key, plain(value));
        }
    }
    if let Some(settings) = settings {
        let grid = settings.mae.encoder.grid;
        fact("L", format!("{} ({} x {} patches)", grid.len(), grid.rows(), grid.cols()));
        fact("visible", settings.kept.to_string());
        fact("mask unit", settings.masks.unit.to_string());
    }
    facts
}

/// A value as one reads it: texts without quotes.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The pictures that the page shows of those in the folder, if it is there.
fn read_pictures(folder: &Path) -> anyhow::Result<Vec<Picture>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.with_context(|| folder.display().to_string())?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.with_context(|| folder.display().to_string())?.path();
        found.extend(step_of(&path).map(|step| (step, path)));
    }
    found.sort();
    let steps: Vec<u64> = found.iter().map(|(step, _)| *step).collect();
    let chosen = evenly_spaced(&steps, MOST_PICTURES).into_iter().map(|i| &found[i]);
    chosen
        .map(|(step, path)| {
            let png = fs::read(path).with_context(|| path.display().to_string())?;
            Ok(Picture { step: *step, png })
        })
        .collect()
}

/// The step of a picture called `step-00001200.png`.
fn step_of(path: &Path) -> Option<u64> {
    let png = path.extension().is_some_and(|extension| extension == "png");
    let stem = path.file_stem().filter(|_| png).and_then(OsStr::to_str)?;
    stem.strip_prefix("step-")?.parse().ok()
}
