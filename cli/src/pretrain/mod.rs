//! Pre-training: a masked autoencoder from images.

mod batch;
mod dry_run;
mod flags;
mod info;
mod pictures;
mod plan;
mod probe;
#[cfg(test)]
mod rows;
mod settings;
mod task;
mod validation;

pub use batch::train_loader;
pub use dry_run::{memory, shape};
pub use flags::Flags;
pub use info::{config, mae_config};
pub use pictures::{image_spec, reconstruct, statistics};
pub use settings::Settings;

use crate::run;
use plan::Pretraining;

/// The command's arguments.
pub type Args = run::Args<Flags>;

/// Runs the command; `program` is how the user calls it, for messages.
pub fn run(args: Args, program: &str) -> anyhow::Result<()> {
    run::run::<Pretraining>(args, program)
}
