//! What a study comes to: tables of what is done, and plots.

use longmae_report::{MeasuredStep, write_atomic};

use super::cell::{CellResult, middle};
use super::folder::StudyFolder;
use super::grid::{Row, Study};
use super::pace;
use super::plots;
use super::spread::Spread;
use super::table::{Column, Entry, Table};
use crate::pretrain;

/// A row with what was measured of its runs, seed by seed, as far as they are done.
pub struct Outcome<'a> {
    pub row: &'a Row,
    pub results: Vec<CellResult>,
}

/// A number that a run is judged by.
pub struct Metric {
    pub key: &'static str,
    pub title: &'static str,
    /// Whether it is a share, which is shown in percent.
    pub share: bool,
    of: fn(&CellResult) -> Option<f64>,
}

/// The numbers that runs are judged by. Losses are of what is predicted: patches of other sizes are other tasks.
pub const METRICS: [Metric; 4] = [
    Metric { key: "loss", title: "loss", share: false, of: |result| Some(result.loss) },
    Metric {
        key: "val_loss",
        title: "validation loss",
        share: false,
        of: |result| result.val_loss,
    },
    Metric { key: "knn_top1", title: "kNN", share: true, of: |result| result.knn_top1 },
    Metric {
        key: "linear_top1",
        title: "linear probe",
        share: true,
        of: |result| result.linear_top1,
    },
];

impl Outcome<'_> {
    /// A metric over seeds; none where it was not measured.
    pub fn spread(&self, metric: &Metric) -> Option<Spread> {
        Spread::of(self.results.iter().filter_map(metric.of).collect())
    }

    /// Optimiser steps of a run.
    fn steps(&self) -> Option<u64> {
        self.results.first().map(|result| result.steps)
    }

    /// Images that a run has seen, each as often as it was seen.
    pub fn images(&self) -> Option<u64> {
        Some(self.steps()? * self.row.settings.common.batching.effective as u64)
    }

    /// Floating-point operations of a run.
    pub fn flops(&self) -> anyhow::Result<Option<f64>> {
        let cost = pretrain::shape(&self.row.settings).cost()?;
        Ok(self.images().map(|images| images as f64 * cost.training_flops))
    }

    /// The middle of the runs' steps.
    fn step_seconds(&self) -> Option<f64> {
        let seconds = middle(self.results.iter().map(|result| result.step_seconds));
        seconds.is_finite().then_some(seconds)
    }
}

/// The rows of a study with what is done of them.
pub fn read<'a>(
    study: &'a Study,
    folder: &StudyFolder,
    ranks: usize,
) -> anyhow::Result<Vec<Outcome<'a>>> {
    let mut all: Vec<Outcome<'a>> =
        study.rows.iter().map(|row| Outcome { row, results: Vec::new() }).collect();
    for cell in study.cells(ranks)? {
        let result = CellResult::read(&folder.cell(&cell)?)?;
        let wanted = study.probe(&study.rows[cell.row]);
        all[cell.row].results.extend(result.filter(|result| result.probe == wanted));
    }
    Ok(all)
}

/// Writes all tables and plots anew. `results` depends on data, recipes and seeds alone; what the clock says is in `cost`.
pub fn write(study: &Study, folder: &StudyFolder, ranks: usize) -> anyhow::Result<()> {
    let outcomes = read(study, folder, ranks)?;
    let title = format!("{} ({} seeds)", study.name, study.file.seeds.len());
    results(&outcomes)?.write(folder.path(), "results", &title)?;
    cost(&outcomes)?.write(folder.path(), "cost", &title)?;
    for (name, svg) in plots::all(&outcomes)? {
        write_atomic(folder.path().join(name), svg.as_bytes())?;
    }
    Ok(())
}

/// What a row is: its sequence.
pub fn sequence(row: &Row) -> anyhow::Result<(Vec<Column>, Vec<Entry>)> {
    let settings = &row.settings;
    let cost = pretrain::shape(settings).cost()?;
    let (height, width) = settings.mae.encoder.grid.image_size();
    let image = if height == width { height.to_string() } else { format!("{height}x{width}") };
    let entries = [
        (Column::new("row", "row"), Entry::Text(row.name.clone())),
        (Column::new("image_size", "I"), Entry::Text(image)),
        (Column::new("patch_size", "p"), Entry::Whole(settings.mae.encoder.grid.patch() as u64)),
        (Column::new("patches", "L"), Entry::Whole(cost.patches as u64)),
        (Column::new("encoder_tokens", "Le"), Entry::Whole(cost.encoder_tokens as u64)),
        (Column::new("decoder_tokens", "Ld"), Entry::Whole(cost.decoder_tokens as u64)),
        (Column::new("mask_unit", "unit"), Entry::Whole(settings.masks.unit as u64)),
        (Column::new("mask_ratio", "ratio"), Entry::number(settings.masks.ratio, 4)),
        (
            Column::new("gflop_per_image", "GFLOP an image, trained"),
            Entry::number(cost.training_flops / 1e9, 2),
        ),
    ];
    Ok(entries.into_iter().unzip())
}

fn results(outcomes: &[Outcome<'_>]) -> anyhow::Result<Table> {
    let mut table = Table::default();
    for outcome in outcomes {
        let (mut columns, mut entries) = sequence(outcome.row)?;
        let patches = outcome.row.settings.mae.encoder.grid.len() as f64;
        let millions = outcome.images().map(|images| images as f64 / 1e6);
        let more = [
            (Column::new("runs", "runs"), Entry::Whole(outcome.results.len() as u64)),
            (Column::new("epochs", "epochs"), Entry::number(outcome.row.settings.common.epochs, 2)),
            (Column::new("million_images", "M images"), Entry::maybe(millions, 3)),
            (
                Column::new("million_tokens", "M tokens"),
                Entry::maybe(millions.map(|images| images * patches), 1),
            ),
            (
                Column::new("pflop", "PFLOP"),
                Entry::maybe(outcome.flops()?.map(|flops| flops / 1e15), 3),
            ),
        ];
        let metrics = METRICS.iter().map(|metric| {
            let entry = Entry::Spread { spread: outcome.spread(metric), share: metric.share };
            (Column::new(metric.key, metric.title), entry)
        });
        for (column, entry) in more.into_iter().chain(metrics) {
            columns.push(column);
            entries.push(entry);
        }
        table.push(columns, entries);
    }
    Ok(table)
}

/// What was measured of a machine's time, and what would have been expected from the other rows.
fn cost(outcomes: &[Outcome<'_>]) -> anyhow::Result<Table> {
    let mut table = Table::default();
    for (number, outcome) in outcomes.iter().enumerate() {
        let row = outcome.row;
        let shape = pretrain::shape(&row.settings);
        let images = row.settings.common.batching.effective;
        let others: Vec<MeasuredStep> = outcomes
            .iter()
            .enumerate()
            .filter(|(other, outcome)| *other != number && pace::alike(outcome.row, row))
            .filter_map(|(_, other)| other.measured())
            .collect();
        let expected = pace::expected(&others, &shape, images)?;
        let seconds = outcome.step_seconds();
        let off =
            expected.zip(seconds).map(|(expected, seconds)| 100.0 * (expected / seconds - 1.0));
        let gflops = |seconds: f64| {
            shape.cost().map(|cost| cost.training_flops * images as f64 / seconds / 1e9)
        };
        let best = |of: fn(&CellResult) -> f64| {
            let values = outcome.results.iter().map(of);
            values.fold(None, |best: Option<f64>, value| Some(best.map_or(value, |b| b.max(value))))
        };
        let entries = [
            (Column::new("row", "row"), Entry::Text(row.name.clone())),
            (Column::new("images_per_step", "images a step"), Entry::Whole(images as u64)),
            (Column::new("step_seconds", "seconds a step"), Entry::maybe(seconds, 4)),
            (
                Column::new("images_per_second", "images/s"),
                Entry::maybe(seconds.map(|seconds| images as f64 / seconds), 2),
            ),
            (
                Column::new("gflop_per_second", "GFLOP/s"),
                Entry::maybe(seconds.map(gflops).transpose()?, 1),
            ),
            (
                Column::new("expected_step_seconds", "expected from the other rows"),
                Entry::maybe(expected, 4),
            ),
            (Column::new("expected_off_percent", "off by %"), Entry::maybe(off, 1)),
            (
                Column::new("hours", "hours a run, at most"),
                Entry::maybe(best(|result| result.hours), 3),
            ),
            (Column::new("memory_gb", "GB"), Entry::maybe(best(|result| result.rss_mb / 1e3), 2)),
            (
                Column::new("expected_memory_gb", "expected GB"),
                Entry::number(pretrain::memory(&row.settings)? / 1e9, 2),
            ),
        ];
        let (columns, entries) = entries.into_iter().unzip();
        table.push(columns, entries);
    }
    Ok(table)
}

impl Outcome<'_> {
    /// A step of this row, if any was measured.
    fn measured(&self) -> Option<MeasuredStep> {
        let images = self.row.settings.common.batching.effective;
        let shape = pretrain::shape(&self.row.settings);
        self.step_seconds().map(|seconds| MeasuredStep { shape, images, seconds })
    }
}
