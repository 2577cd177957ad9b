//! `longmae linprobe`: how much of an image's class a linear classifier reads off a frozen encoder.

mod dry_run;
mod exact;
mod flags;
mod model;
mod plan;
mod settings;
mod task;

pub use flags::Flags;

use crate::exit::usage;
use crate::run;
use plan::Probing;

#[derive(clap::Args)]
pub struct Args {
    /// Make features once and solve logistic regression on them, instead of training the probe as published: minutes, not
    /// hours, and the same from run to run
    #[arg(long, help_heading = "Run")]
    exact: bool,
    #[command(flatten)]
    run: run::Args<Flags>,
}

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<()> {
    if args.exact {
        return exact::run(&args.run);
    }
    let (table, _) = args.run.given::<Probing>()?;
    if table.contains_key("c") {
        return Err(usage("c is for --exact: a probe that is trained has weight_decay"));
    }
    run::run::<Probing>(args.run, "longmae linprobe")
}
