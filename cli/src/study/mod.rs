//! `longmae study`: a grid of pre-training runs, probed, as one table and its plots.

mod budget;
mod cell;
mod child;
mod file;
mod folder;
mod grid;
mod outcome;
mod pace;
mod plan;
mod plots;
mod queue;
mod spread;
mod table;

pub use child::end_with_parent;
#[cfg(test)]
pub use file::{COMMAND, StudyFile};

use std::path::PathBuf;
use std::sync::atomic::Ordering;

use crate::exit::usage;
use crate::output::line;
use crate::recipe;
use crate::signals;
use folder::StudyFolder;
use grid::Study;
use queue::Processes;

/// The most processes, far beyond use.
const MOST: usize = 1024;

#[derive(clap::Args)]
pub struct Args {
    /// A built-in study (see `longmae recipes list`) or a TOML file
    #[arg(value_name = "NAME|FILE")]
    study: String,
    /// Folder of the study; one that is there is gone on with (default: runs/NAME)
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Images that all rows are trained on, as `mae-pretrain --data` takes them
    #[arg(long, value_name = "SPEC")]
    data: Option<String>,
    /// Images with classes that probes learn from (default: the study's, or those of the training)
    #[arg(long, value_name = "SPEC")]
    probe_data: Option<String>,
    /// Images with classes that probes are tested on
    #[arg(long, value_name = "SPEC")]
    probe_val_data: Option<String>,
    /// Set a recipe's key in all rows, such as `--set epochs=1`; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Seeds, a run each (default: the study's)
    #[arg(long, value_name = "N,...", value_delimiter = ',')]
    seeds: Vec<u64>,
    /// These rows alone
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    rows: Vec<String>,
    /// Runs at once, each with its share of the cores
    #[arg(long, value_name = "N", default_value_t = 1)]
    jobs: usize,
    /// Processes that train each run together, started by mpirun (a program built with the feature `mpi`)
    #[arg(long, value_name = "N", default_value_t = 1)]
    ranks: usize,
    /// Print the rows with lengths, GFLOP, memory and steps, and train nothing
    #[arg(long)]
    dry_run: bool,
    /// With --dry-run: expected hours, from the steps that the study in this folder has measured
    #[arg(long, value_name = "DIR", requires = "dry_run")]
    speed: Option<PathBuf>,
}

/// Runs what is not done, and writes tables and plots.
pub fn run(args: &Args) -> anyhow::Result<()> {
    for (flag, value) in [("--jobs", args.jobs), ("--ranks", args.ranks)] {
        if !(1..=MOST).contains(&value) {
            return Err(usage(format!("{flag} {value}: expected a number from 1 to {MOST}")));
        }
    }
    let study = Study::load(args)?;
    if args.dry_run {
        recipe::about(&recipe::text(&args.study)?).for_each(|said| line(format!("# {said}")));
        return plan::print(&study, args.speed.as_deref());
    }
    check_data(&study)?;
    let out = args.out.clone().unwrap_or_else(|| study.default_out());
    let cells = study.cells(args.ranks)?;
    let folder = StudyFolder::open(&out, &study, &cells)?;
    let stop = signals::stop_flag(|| line("asking the runs to finish their step and save"))?;
    let processes = Processes { jobs: args.jobs, ranks: args.ranks };
    let worked = queue::work(&study, cells, &folder, processes, &stop);
    outcome::write(&study, &folder, args.ranks)?;
    worked?;
    if stop.load(Ordering::Relaxed) {
        line(format!("stopped; the same command goes on in {}", out.display()));
        return Ok(());
    }
    let table = out.join("results.md");
    line(std::fs::read_to_string(&table)?.trim_end());
    line("");
    line(format!(
        "{}: results.csv, results.json, cost.md and plots are beside it",
        table.display()
    ));
    Ok(())
}

/// A study without data ends before its first run.
fn check_data(study: &Study) -> anyhow::Result<()> {
    if let Some(row) = study.rows.iter().find(|row| row.settings.common.data.is_none()) {
        return Err(usage(format!("study {}: row {} needs --data", study.name, row.name)));
    }
    match &study.file.probe {
        Some(probe) if probe.val_data.is_none() => Err(usage(format!(
            "study {}: its probe needs --probe-val-data (images with classes to be tested on)",
            study.name
        ))),
        _ => Ok(()),
    }
}
