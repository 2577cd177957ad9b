//! How long rows are expected to take on a machine, from steps that were measured there.

use std::fs;
use std::path::Path;

use anyhow::{Context, bail};
use longmae_report::{MeasuredStep, ModelShape, Speed};
use toml::Table;

use super::cell::CellResult;
use super::folder::{CELLS, CellFolder};
use super::grid::Row;
use crate::pretrain::{self, Flags, Settings};
use crate::recipe;
use crate::run::RunSettings;

/// Steps measured in a study's folder, with the settings of their runs.
pub struct Pace {
    steps: Vec<(Settings, MeasuredStep)>,
}

impl Pace {
    /// Reads what a study has measured so far.
    pub fn read(study: &Path) -> anyhow::Result<Self> {
        let cells = study.join(CELLS);
        let entries = fs::read_dir(&cells).with_context(|| {
            format!("--speed {}: no study ({CELLS} is missing)", study.display())
        })?;
        let mut steps = Vec::new();
        for entry in entries {
            steps.extend(step(&CellFolder::at(entry?.path()))?);
        }
        if steps.is_empty() {
            bail!("--speed {}: none of this study's runs is done yet", study.display());
        }
        // The order of a folder is no order.
        steps.sort_by(|a, b| a.1.seconds.total_cmp(&b.1.seconds));
        Ok(Self { steps })
    }

    /// Seconds that a row's step is expected to take; none if nothing was measured that computes alike.
    pub fn step_seconds(&self, row: &Row) -> anyhow::Result<Option<f64>> {
        let alike =
            self.steps.iter().filter(|(settings, _)| computes_alike(settings, &row.settings));
        let steps: Vec<MeasuredStep> = alike.map(|(_, step)| *step).collect();
        let images = row.settings.common.batching.effective;
        expected(&steps, &pretrain::shape(&row.settings), images)
    }
}

/// A run's middle step, if it is done.
fn step(folder: &CellFolder) -> anyhow::Result<Option<(Settings, MeasuredStep)>> {
    let Some(result) = CellResult::read(folder)? else { return Ok(None) };
    let path = folder.recipe();
    let place = path.display().to_string();
    let text = fs::read_to_string(&path).with_context(|| place.clone())?;
    let table: Table = recipe::parse::<Flags>(&place, &text, Settings::COMMAND)?;
    let settings = Settings::resolve(recipe::to_flags(&place, &table)?)?;
    let step = MeasuredStep {
        shape: pretrain::shape(&settings),
        images: settings.common.batching.effective,
        seconds: result.step_seconds,
    };
    Ok(Some((settings, step)))
}

/// What is expected from steps; none without any.
pub fn expected(
    steps: &[MeasuredStep],
    shape: &ModelShape,
    images: usize,
) -> anyhow::Result<Option<f64>> {
    if steps.is_empty() {
        return Ok(None);
    }
    Ok(Some(Speed::fit(steps)?.step_seconds(shape, images)?))
}

/// Whether the time of one row tells of the other's.
pub fn alike(a: &Row, b: &Row) -> bool {
    computes_alike(&a.settings, &b.settings)
}

fn computes_alike(a: &Settings, b: &Settings) -> bool {
    let (a, b) = (&a.common, &b.common);
    a.compute == b.compute && a.device == b.device && a.threads == b.threads
}
