//! `longmae detect`: trains a detector on an encoder, scores detectors, and draws what they find.

mod architecture;
mod batch;
mod categories;
mod cost;
mod dry_run;
mod evaluate;
mod figures;
mod flags;
mod images;
mod open;
mod plan;
mod predict;
mod results;
mod schedule;
mod score;
mod settings;
mod task;
mod validation;

use std::path::PathBuf;

pub use flags::Flags;

use crate::exit::usage;
use crate::run;
use plan::Detecting;

#[derive(clap::Args)]
pub struct Args {
    /// Train nothing: score the detector WEIGHTS (or that of --init-weights) on --val-data (into --out, if that is given)
    #[arg(
        long,
        value_name = "WEIGHTS",
        num_args = 0..=1,
        default_missing_value = "",
        conflicts_with = "predict",
        help_heading = "Run"
    )]
    eval: Option<String>,
    /// Train nothing: draw what the detector of --init-weights finds in images, or folders of images, into the folder --out
    #[arg(long, value_name = "IMAGE", num_args = 1.., help_heading = "Run")]
    predict: Vec<PathBuf>,
    /// What is drawn is likelier than this (default: 0.5)
    #[arg(long, alias = "min_score", value_name = "P", requires = "predict", help_heading = "Run")]
    min_score: Option<f32>,
    #[command(flatten)]
    run: run::Args<Flags>,
}

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<()> {
    if let Some(weights) = &args.eval {
        return score::run(&args.run, weights);
    }
    if args.predict.is_empty() {
        return run::run::<Detecting>(args.run, "longmae detect");
    }
    let score = args.min_score.unwrap_or(0.5);
    if !(0.0..=1.0).contains(&score) {
        return Err(usage(format!("--min-score {score}: expected a number from 0 to 1")));
    }
    predict::run(&args.run, &args.predict, score)
}
