//! All runs of a study, several at once if that is wanted.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use anyhow::bail;

use super::cell::{CellResult, Work};
use super::folder::StudyFolder;
use super::grid::{Cell, Study};
use super::outcome;
use crate::output::{error_line, line};
use crate::terminal::plural;

/// How many processes there are.
#[derive(Debug, Clone, Copy)]
pub struct Processes {
    /// Runs at once.
    pub jobs: usize,
    /// Processes that train a run together.
    pub ranks: usize,
}

/// Does what is not done yet. A run that fails does not end the others; tables and plots are made anew after each.
pub fn work(
    study: &Study,
    cells: Vec<Cell>,
    folder: &StudyFolder,
    processes: Processes,
    stop: &AtomicBool,
) -> anyhow::Result<()> {
    let total = cells.len();
    let queue = Mutex::new(cells.into_iter().enumerate().collect::<VecDeque<_>>());
    let failed = Mutex::new(Vec::new());
    let told = Mutex::new(());
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    let one = |number: usize, cell: &Cell| {
        let name = &cell.name;
        let place = format!("[{}/{total}] {name}", number + 1);
        match do_one(study, folder, cell, processes, stop, &place) {
            Ok(Some(result)) => {
                let _told = told.lock().unwrap_or_else(PoisonError::into_inner);
                line(format!("{place}: {}", said(&result)));
                outcome::write(study, folder, processes.ranks)
            }
            Ok(None) => Ok(()),
            Err(error) => {
                error_line(format!("{place} failed: {error:#}"));
                failed.lock().unwrap_or_else(PoisonError::into_inner).push(name.clone());
                Ok(())
            }
        }
    };
    let worker = || {
        while !stop.load(Ordering::Relaxed) {
            let Some((number, cell)) = next() else { break };
            one(number, &cell)?;
        }
        anyhow::Ok(())
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..processes.jobs.min(total)).map(|_| scope.spawn(worker)).collect();
        let ends = workers.into_iter().map(|worker| match worker.join() {
            Ok(end) => end,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        ends.collect::<anyhow::Result<()>>()
    })?;
    let failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    if failed.is_empty() {
        return Ok(());
    }
    let count = plural(failed.len() as u64, "run");
    bail!("{count} of {total} failed: {}; the same command tries them again", failed.join(", "))
}

fn do_one(
    study: &Study,
    folder: &StudyFolder,
    cell: &Cell,
    processes: Processes,
    stop: &AtomicBool,
    place: &str,
) -> anyhow::Result<Option<CellResult>> {
    let row = &study.rows[cell.row];
    let probe = study.probe(row);
    let own = folder.cell(cell)?;
    let done = CellResult::read(&own)?.is_some_and(|result| result.probe == probe);
    if !done {
        let epochs = row.settings.common.epochs;
        let patches = row.settings.mae.encoder.grid.len();
        line(format!("{place}: L = {patches}, {epochs:.4} epochs"));
    }
    let shared = processes.jobs * processes.ranks;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let said = row.settings.common.threads.is_some();
    Work {
        folder: &own,
        probe: probe.as_ref(),
        threads: (shared > 1 && !said).then(|| (cores / shared).max(1)),
        device: row.settings.common.device,
        jobs: processes.jobs,
        ranks: processes.ranks,
        stop,
    }
    .run()
}

/// What a run came to.
fn said(result: &CellResult) -> String {
    let share = |value: f64| format!("{:.2}%", 100.0 * value);
    let mut parts = vec![format!("loss {:.4}", result.loss)];
    parts.extend(result.val_loss.map(|loss| format!("validation {loss:.4}")));
    parts.extend(result.knn_top1.map(|top1| format!("knn {}", share(top1))));
    parts.extend(result.linear_top1.map(|top1| format!("linear {}", share(top1))));
    parts.push(format!("{:.2} h", result.hours));
    parts.join(", ")
}
