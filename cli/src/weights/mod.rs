//! `longmae weights`: what becomes of a model's files.

mod pull;
mod push;
mod reference;
mod transformers;
mod uploads;

pub use reference::{FULL, fetch};

use clap::Subcommand;
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Fetch a model's files from the Hugging Face Hub.
    Pull(pull::Args),
    /// Upload what a run made to the Hugging Face Hub, with a model card.
    Push(push::Args),
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    match &args.action {
        Action::Pull(args) => pull::run(args),
        Action::Push(args) => push::run(args),
    }
}
