//! `--dry-run`: the plan of a probe, trained on nothing.

use super::plan::Probing;
use super::settings::Settings;
use crate::run::dry_run;

/// Prints the plan.
pub fn print(name: &str, settings: &Settings) -> anyhow::Result<()> {
    let common = &settings.common;
    let mut lines = vec![("model", format!("{}, frozen", common.model))];
    lines.extend(dry_run::image(common));
    lines.push(("pool", settings.pool.to_string()));
    lines.extend(dry_run::optimisation(common));
    lines.extend(dry_run::schedule::<Probing>(settings)?);
    dry_run::print(name, lines);
    Ok(())
}
