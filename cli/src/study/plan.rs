//! `--dry-run`: what a study would be, with nothing trained.

use std::path::Path;

use super::grid::{Row, Study};
use super::outcome::sequence;
use super::pace::Pace;
use super::table::{Column, Entry, Table};
use crate::output::line;
use crate::pretrain;
use crate::run::Sources;
use crate::terminal::plural;

/// Prints the rows with what they cost; hours are expected from what the study `speed` has measured.
pub fn print(study: &Study, speed: Option<&Path>) -> anyhow::Result<()> {
    let pace = speed.map(Pace::read).transpose()?;
    let mut table = Table::default();
    let mut hours = Some(0.0);
    for row in &study.rows {
        let planned = Planned::of(row, pace.as_ref())?;
        hours = hours.zip(planned.hours).map(|(sum, hours)| sum + hours);
        let (columns, entries) = planned.entries(row)?;
        table.push(columns, entries);
    }
    let seeds = study.file.seeds.len() as u64;
    let runs = plural(study.rows.len() as u64 * seeds, "run");
    let rows = plural(study.rows.len() as u64, "row");
    line(format!(
        "plan of {} (nothing is trained): {rows} x {} = {runs}",
        study.name,
        plural(seeds, "seed")
    ));
    line("");
    line(table.markdown().trim_end());
    if let Some(hours) = hours {
        line("");
        line(format!("all runs: about {:.1} hours, one after the other", hours * seeds as f64));
    }
    Ok(())
}

/// What is known of a row before it is run.
struct Planned {
    /// Optimiser steps, if it is known how many images there are.
    steps: Option<u64>,
    hours: Option<f64>,
}

impl Planned {
    fn of(row: &Row, pace: Option<&Pace>) -> anyhow::Result<Self> {
        let common = &row.settings.common;
        let effective = common.batching.effective as u64;
        let per_epoch = match (row.images, &common.data) {
            (Some(images), _) => {
                let drawn = images * (common.repeat * common.aug_repeats) as u64;
                Some((drawn / effective).max(1))
            }
            (None, Some(_)) => Some(Sources::open(common)?.steps_per_epoch(common)?),
            (None, None) => None,
        };
        let steps = per_epoch.map(|per_epoch| common.total_steps(per_epoch));
        let seconds = pace.map(|pace| pace.step_seconds(row)).transpose()?.flatten();
        let hours = steps.zip(seconds).map(|(steps, seconds)| steps as f64 * seconds / 3600.0);
        Ok(Self { steps, hours })
    }

    fn entries(&self, row: &Row) -> anyhow::Result<(Vec<Column>, Vec<Entry>)> {
        let (mut columns, mut entries) = sequence(row)?;
        let common = &row.settings.common;
        let cost = pretrain::shape(&row.settings).cost()?;
        let images = self.steps.map(|steps| steps as f64 * common.batching.effective as f64);
        let parameters = (cost.encoder_parameters + cost.decoder_parameters) as f64;
        for (column, entry) in [
            (Column::new("parameters", "M parameters"), Entry::number(parameters / 1e6, 1)),
            (
                Column::new("memory_gb", "GB"),
                Entry::number(pretrain::memory(&row.settings)? / 1e9, 2),
            ),
            (
                Column::new("passes", "passes over the data"),
                Entry::number(common.epochs * common.repeat as f64, 1),
            ),
            (
                Column::new("million_images", "M images"),
                Entry::maybe(images.map(|images| images / 1e6), 3),
            ),
            (
                Column::new("pflop", "PFLOP"),
                Entry::maybe(images.map(|images| images * cost.training_flops / 1e15), 2),
            ),
            (Column::new("hours", "expected hours"), Entry::maybe(self.hours, 2)),
        ] {
            columns.push(column);
            entries.push(entry);
        }
        Ok((columns, entries))
    }
}
