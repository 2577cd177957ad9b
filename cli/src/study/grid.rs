//! The rows of a study, as they are meant: every setting is checked before anything runs.

use std::collections::HashSet;
use std::path::PathBuf;

use toml::{Table, Value};

use super::Args;
use super::file::{ProbeFile, RowFile, StudyFile};
use crate::choice::unknown;
use crate::exit::usage;
use crate::pretrain::{Flags, Settings};
use crate::recipe;
use crate::run::RunSettings;

/// Keys that only say which sequence an image becomes: rows that differ by them are one series.
const SEQUENCE: [&str; 2] = ["image_size", "patch_size"];

/// A study, checked.
#[derive(Debug, Clone)]
pub struct Study {
    pub name: String,
    /// What it is, as its file would say it with all that was typed.
    pub file: StudyFile,
    pub rows: Vec<Row>,
}

/// A row: what is trained once a seed.
#[derive(Debug, Clone)]
pub struct Row {
    pub name: String,
    /// The line of the plots that it belongs to.
    pub series: String,
    /// How many times as long it trains as the budget says.
    pub schedule: f64,
    /// Images of the data, where that was said.
    pub images: Option<u64>,
    /// The settings as they are written.
    pub table: Table,
    /// The same as they are meant.
    pub settings: Settings,
}

/// A run: a row with a seed.
#[derive(Debug, Clone)]
pub struct Cell {
    pub name: String,
    /// The row's number.
    pub row: usize,
    /// The run's recipe.
    pub table: Table,
}

impl Row {
    /// Takes in a changed table.
    pub fn resolve(&mut self) -> anyhow::Result<()> {
        self.settings = settings(&self.name, &self.table)?;
        Ok(())
    }
}

/// The settings that a table means.
fn settings(row: &str, table: &Table) -> anyhow::Result<Settings> {
    let flags = recipe::to_flags::<Flags>(&format!("row {row}"), table)?;
    Settings::resolve(flags).map_err(|e| usage(format!("row {row}: {e}")))
}

impl Study {
    /// Reads a study and what was typed over it, and makes its rows.
    pub fn load(args: &Args) -> anyhow::Result<Self> {
        let (name, mut file) = StudyFile::load(&args.study)?;
        let place = format!("study {name}");
        // Where a path is looked for depends on nothing else than where the program is called.
        for set in &args.set {
            recipe::overlay(&mut file.set, &recipe::parse_set::<Flags>(set)?);
        }
        if let Some(data) = &args.data {
            file.set.insert("data".to_owned(), Value::String(data.clone()));
        }
        if !args.seeds.is_empty() {
            file.seeds.clone_from(&args.seeds);
        }
        for (value, flag) in
            [(&args.probe_data, "--probe-data"), (&args.probe_val_data, "--probe-val-data")]
        {
            if value.is_some() && file.probe.is_none() {
                return Err(usage(format!("{flag}: {place} has no [probe]")));
            }
        }
        if let Some(probe) = &mut file.probe {
            probe.data = args.probe_data.clone().or(probe.data.take());
            probe.val_data = args.probe_val_data.clone().or(probe.val_data.take());
        }
        check_seeds(&place, &file.seeds)?;
        recipe::to_flags::<Flags>(&place, &file.set)?;
        let rows = rows(&place, &file)?;
        let mut study = Self { name, file, rows };
        study.choose(&args.rows)?;
        Ok(study)
    }

    /// Leaves the rows that are named, if any are.
    fn choose(&mut self, names: &[String]) -> anyhow::Result<()> {
        let known: Vec<&str> = self.rows.iter().map(|row| row.name.as_str()).collect();
        if let Some(name) = names.iter().find(|name| !known.contains(&name.as_str())) {
            return Err(unknown("row", name, &known));
        }
        if !names.is_empty() {
            self.rows.retain(|row| names.contains(&row.name));
        }
        Ok(())
    }

    /// The runs, seed by seed, so that every row is seen early.
    pub fn cells(&self, ranks: usize) -> anyhow::Result<Vec<Cell>> {
        let seeds = self.file.seeds.iter();
        let pairs =
            seeds.flat_map(|&seed| self.rows.iter().enumerate().map(move |row| (seed, row)));
        pairs
            .map(|(seed, (number, row))| {
                let mut table = row.table.clone();
                table.insert("seed".to_owned(), Value::Integer(i64::try_from(seed)?));
                divide(&mut table, row, ranks)?;
                let name = format!("{}-seed{seed}", row.name);
                Ok(Cell { name, row: number, table })
            })
            .collect()
    }

    /// The probe of a row, if there is one: with the data that it learns from.
    pub fn probe(&self, row: &Row) -> Option<ProbeFile> {
        let mut probe = self.file.probe.clone()?;
        let own = || row.table.get("data").and_then(Value::as_str).map(str::to_owned);
        probe.data = probe.data.or_else(own);
        Some(probe)
    }

    /// Where it is, if nothing else is said: beside the runs, and found again by its name.
    pub fn default_out(&self) -> PathBuf {
        PathBuf::from("runs").join(&self.name)
    }
}

/// The batch of each of several ranks, so that a step has the images that the recipe says.
fn divide(table: &mut Table, row: &Row, ranks: usize) -> anyhow::Result<()> {
    if ranks == 1 {
        return Ok(());
    }
    let batching = row.settings.common.batching;
    if !batching.batch_size.is_multiple_of(ranks) {
        return Err(usage(format!(
            "--ranks {ranks}: row {} has micro-batches of {} images, which {ranks} processes cannot share alike",
            row.name, batching.batch_size
        )));
    }
    table.remove("accum_iter");
    for (key, value) in
        [("batch_size", batching.batch_size / ranks), ("effective_batch_size", batching.effective)]
    {
        table.insert(key.to_owned(), Value::Integer(i64::try_from(value)?));
    }
    Ok(())
}

fn check_seeds(place: &str, seeds: &[u64]) -> anyhow::Result<()> {
    let mut seen = HashSet::new();
    if let Some(seed) = seeds.iter().find(|seed| !seen.insert(**seed)) {
        return Err(usage(format!("{place}: seed {seed} is there twice")));
    }
    match seeds.iter().find(|seed| i64::try_from(**seed).is_err()) {
        Some(seed) => Err(usage(format!("{place}: seed {seed}: expected at most {}", i64::MAX))),
        None => Ok(()),
    }
}

/// Every row with every combination of the axes, each with its share of the budget.
fn rows(place: &str, file: &StudyFile) -> anyhow::Result<Vec<Row>> {
    let alone = [RowFile::default()];
    let written = if file.rows.is_empty() { &alone[..] } else { &file.rows };
    let combinations = file.combinations();
    let pairs = written.iter().flat_map(|row| combinations.iter().map(move |values| (row, values)));
    let rows = pairs.map(|(row, values)| row_of(place, file, row, values));
    let mut rows = rows.collect::<anyhow::Result<Vec<Row>>>()?;
    let mut seen = HashSet::new();
    if let Some(row) = rows.iter().find(|row| !seen.insert(row.name.clone())) {
        return Err(usage(format!("{place}: row {} is there twice", row.name)));
    }
    file.budget.share(&mut rows, file.reference.as_deref())?;
    Ok(rows)
}

fn row_of(place: &str, file: &StudyFile, row: &RowFile, values: &Table) -> anyhow::Result<Row> {
    let reference = row.recipe.as_ref().or(file.recipe.as_ref());
    let Some(reference) = reference else {
        return Err(usage(format!("{place}: row {} has no recipe", row.name)));
    };
    let (recipe, mut table) = recipe::load::<Flags>(reference, Settings::COMMAND)?;
    let said = |keep: fn(&str) -> bool| {
        let said = values.iter().filter(|(key, _)| keep(key));
        said.map(|(key, value)| format!("{key}={}", plain(value))).collect::<Vec<_>>()
    };
    let base = match (row.name.is_empty(), values.is_empty()) {
        (true, true) => vec![recipe],
        (true, false) => Vec::new(),
        (false, _) => vec![row.name.clone()],
    };
    let name = [base.clone(), said(|_| true)].concat().join("-");
    check_name(place, &name)?;
    let series = match &row.series {
        Some(series) => vec![series.clone()],
        None => base,
    };
    let series = [series, said(|key| !SEQUENCE.contains(&key))].concat().join(" ");
    let series = if series.is_empty() { file.recipe.clone().unwrap_or_default() } else { series };
    for layer in [&file.set, &row.set, values] {
        recipe::to_flags::<Flags>(&format!("{place}, row {name}"), layer)?;
        recipe::overlay(&mut table, layer);
    }
    if table.contains_key("seed") {
        return Err(usage(format!("{place}, row {name}: `seed` is said by `seeds`, for all rows")));
    }
    let settings = settings(&name, &table)?;
    let schedule = row.schedule.unwrap_or(1.0);
    Ok(Row { name, series, schedule, images: row.images, table, settings })
}

/// A value as part of a name.
fn plain(value: &Value) -> String {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    text.chars().map(|c| if allowed(c) { c } else { '_' }).collect()
}

fn allowed(c: char) -> bool {
    c.is_ascii_alphanumeric() || "._-=+".contains(c)
}

/// A row's name is that of a folder.
fn check_name(place: &str, name: &str) -> anyhow::Result<()> {
    let fits = !name.starts_with('.') && name.chars().all(allowed) && name.len() <= 120;
    if fits && !name.is_empty() {
        return Ok(());
    }
    Err(usage(format!("{place}: row `{name}`: expected letters, digits and ._-=+, at most 120")))
}
