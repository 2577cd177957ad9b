//! The folder of a study.
//!
//! `study.toml`, a folder a run below `cells`, and what is made of all that are done: tables and plots.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use longmae_report::write_atomic;

use super::grid::{Cell, Study};
use crate::run::RecipeFile;

/// What a study is.
const STUDY: &str = "study.toml";
/// The folder of its runs.
pub const CELLS: &str = "cells";
/// A run's recipe.
pub const RECIPE: &str = "cell.toml";
/// What was measured of a run, once everything was.
pub const RESULT: &str = "result.json";

/// A study's folder, which no other process has while it is held.
pub struct StudyFolder {
    path: PathBuf,
    /// Its `study.toml`, locked.
    file: RecipeFile,
}

/// The folder of a study's run.
pub struct CellFolder {
    path: PathBuf,
}

impl StudyFolder {
    /// Makes the folder and those of the runs, or goes on in it. A run that was begun with other settings is refused before
    /// anything is changed.
    pub fn open(path: &Path, study: &Study, cells: &[Cell]) -> anyhow::Result<Self> {
        let context = || format!("cannot create {}", path.display());
        fs::create_dir_all(path.join(CELLS)).with_context(context)?;
        let file = path.join(STUDY);
        let text = toml::to_string(&study.file)?;
        let (locked, old) = match RecipeFile::create(&file, &text)? {
            Some(created) => (created, text.clone()),
            None => {
                let old = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
                (RecipeFile::open(&file, &old)?, old)
            }
        };
        let mut folder = Self { path: path.to_owned(), file: locked };
        cells.iter().try_for_each(|cell| folder.cell(cell).map(drop))?;
        if old != text {
            folder.file.replace(&text)?;
        }
        Ok(folder)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A run's folder; one that was begun with other settings is refused.
    pub fn cell(&self, cell: &Cell) -> anyhow::Result<CellFolder> {
        let folder = CellFolder { path: self.path.join(CELLS).join(&cell.name) };
        let recipe = folder.recipe();
        let text = cell.table.to_string();
        match fs::read_to_string(&recipe) {
            Ok(old) if old == text => {}
            Ok(old) => bail!(
                "{} was begun with other settings ({}): give the study another --out, or remove that folder",
                folder.path.display(),
                difference(&old, &text)
            ),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let context = || format!("cannot create {}", folder.path.display());
                fs::create_dir_all(&folder.path).with_context(context)?;
                write_atomic(&recipe, text.as_bytes())?;
            }
            Err(error) => return Err(error).context(recipe.display().to_string()),
        }
        Ok(folder)
    }
}

/// The first line that differs.
fn difference(old: &str, new: &str) -> String {
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    let (old, new) = (lines(old), lines(new));
    let gone = old.iter().find(|line| !new.contains(line));
    let come = new.iter().find(|line| !old.contains(line));
    let said = |line: Option<&String>| line.map_or("nothing", String::as_str).to_owned();
    format!("{} there, {} now", said(gone), said(come))
}

impl CellFolder {
    /// That of a run which is there.
    pub fn at(path: PathBuf) -> Self {
        Self { path }
    }

    pub fn recipe(&self) -> PathBuf {
        self.path.join(RECIPE)
    }

    /// The folder of the run itself.
    pub fn run(&self) -> PathBuf {
        self.path.join("run")
    }

    /// The folder of the linear probe.
    pub fn probe(&self) -> PathBuf {
        self.path.join("probe")
    }

    /// What `longmae knn` found.
    pub fn knn(&self) -> PathBuf {
        self.path.join("knn.json")
    }

    /// What all of its processes said.
    pub fn log(&self) -> PathBuf {
        self.path.join("log.txt")
    }

    pub fn result(&self) -> PathBuf {
        self.path.join(RESULT)
    }
}
