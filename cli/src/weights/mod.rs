//! `longmae weights`: what becomes of a model's files.

mod convert;
mod described;
mod diff;
mod expected;
mod given;
mod inspect;
mod known;
mod pull;
mod push;
mod reference;
mod source;
mod statistics;
mod structure;
mod transformers;
mod uploads;
mod verify;

pub use described::described;
pub use known::{KnownFlags, with_flags};
pub use reference::find;

use clap::Subcommand;

use crate::terminal::Terminal;

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Say what a file holds: layout, sizes, metadata, and statistics of each tensor. Exit code 1 if numbers are not finite.
    Inspect(inspect::Args),
    /// Write a model in another package's layout.
    Convert(convert::Args),
    /// Compare two files tensor by tensor, whatever their layouts. Exit code 1 if they differ.
    Diff(diff::Args),
    /// Check a file's names, shapes and numbers against its layout and sizes. Exit code 1 with all that is wrong.
    Verify(verify::Args),
    /// Fetch a model's files from the Hugging Face Hub.
    Pull(pull::Args),
    /// Upload what a run made to the Hugging Face Hub, with a model card.
    Push(push::Args),
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    Terminal::warnings_alone();
    match &args.action {
        Action::Inspect(args) => inspect::run(args),
        Action::Convert(args) => convert::run(args),
        Action::Diff(args) => diff::run(args),
        Action::Verify(args) => verify::run(args),
        Action::Pull(args) => pull::run(args),
        Action::Push(args) => push::run(args),
    }
}
