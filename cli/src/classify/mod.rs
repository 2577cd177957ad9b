//! `longmae classify`: fine-tunes an encoder to tell the classes of images, and evaluates classifiers.

mod batch;
mod dry_run;
mod evaluate;
mod evaluation;
mod flags;
mod plan;
mod settings;
mod task;
mod validation;

pub use batch::{Batch, Collate, train_batches};
pub use evaluate::{Evaluation, Scorer};
pub use flags::Flags;
pub use plan::labelled;
pub use task::metadata;
pub use validation::{BEST, Scores, validated};

use crate::run;
use plan::FineTuning;

#[derive(clap::Args)]
pub struct Args {
    /// Train nothing: evaluate the classifier of --init-weights on --val-data (into --out, if that is given)
    #[arg(long, help_heading = "Run")]
    eval: bool,
    #[command(flatten)]
    run: run::Args<Flags>,
}

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<()> {
    if args.eval {
        return evaluation::run(&args.run);
    }
    run::run::<FineTuning>(args.run, "longmae classify")
}
