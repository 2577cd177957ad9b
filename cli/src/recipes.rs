//! `longmae recipes`: what is built in.

use clap::Subcommand;

use crate::output::line;
use crate::recipe::{self, BuiltIn};

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// List the recipes, a line each: name, the command it is for, what it is.
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
            for BuiltIn { command, name, text } in recipe::BUILT_IN {
                let command = recipe::called(command);
                line(format!("{name:<27} {command:<17} {}", recipe::title(text)));
            }
        }
        Action::Show { name } => line(recipe::built_in(name)?.text.trim_end()),
    }
    Ok(())
}
