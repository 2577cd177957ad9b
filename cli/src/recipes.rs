//! `longmae recipes`: what is built in.

use clap::Subcommand;

use crate::output::line;
use crate::recipe;

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// List the recipes, a line each.
    List,
    /// Print one recipe, to read or to start an own one from.
    Show {
        /// The recipe's name.
        name: String,
    },
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    match &args.action {
        Action::List => {
            for (name, text) in recipe::BUILT_IN {
                line(format!("{name:<20} {}", recipe::title(text)));
            }
        }
        Action::Show { name } => line(recipe::built_in(name)?.trim_end()),
    }
    Ok(())
}
