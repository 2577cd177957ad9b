//! Pre-training: from arguments to a run folder.

mod batch;
mod changes;
mod curve;
mod data;
mod dry_run;
mod folder;
mod info;
mod observer;
mod pictures;
mod recipe_file;
mod session;
mod task;
mod validation;
mod words;

pub use batch::train_loader;
pub use data::Sources;
pub use folder::{CHECKPOINTS, ENCODER, LOSS, METRICS, RECIPE, RECONSTRUCTIONS};
pub use info::{config, mae_config, open_weights, vars};
pub use pictures::{image_spec, reconstruct, statistics};

use std::path::PathBuf;

use longmae_ops::Isa;
use toml::{Table, Value};

use crate::environment;
use crate::exit::usage;
use crate::flags::Flags;
use crate::ranks;
use crate::recipe;
use crate::settings::Settings;
use changes::{Allowed, Request};
use folder::Start;
use session::Session;

#[derive(clap::Args)]
pub struct Args {
    /// A built-in recipe (see `longmae recipes list`) or a TOML file; flags go over it
    #[arg(long, value_name = "NAME|FILE", help_heading = "Run")]
    recipe: Option<String>,
    /// Folder of the run (default: runs/RECIPE-UTCTIME)
    #[arg(long, alias = "output_dir", value_name = "DIR", help_heading = "Run")]
    out: Option<PathBuf>,
    /// `auto` goes on from the last checkpoint in --out (or of the newest run of this recipe) and starts afresh if
    /// there is none; a folder goes on with that run
    #[arg(long, value_name = "auto|DIR", help_heading = "Run")]
    resume: Option<String>,
    /// Settings that may differ from those the run was begun with, and are then what is asked for now
    #[arg(
        long,
        alias = "allow_changes",
        value_name = "KEY[,KEY...]",
        value_delimiter = ',',
        help_heading = "Run"
    )]
    allow_changes: Vec<String>,
    /// Print the plan (lengths, parameters, GFLOP, memory, steps) and train nothing
    #[arg(long, help_heading = "Run")]
    dry_run: bool,
    /// Set a recipe's key, such as `--set mask_unit=2`; may be repeated
    #[arg(long, value_name = "KEY=VALUE", help_heading = "Run")]
    set: Vec<String>,
    #[command(flatten)]
    flags: Flags,
}

/// What was asked for, before the run's folder is looked at.
struct Asked {
    /// The recipe's name, for the folder's.
    name: String,
    /// Recipe, `--set` and flags together.
    table: Table,
    /// What the command line alone set.
    typed: Table,
    /// Whether `--recipe` was given.
    recipe_named: bool,
}

impl Asked {
    fn new(args: &Args) -> anyhow::Result<Self> {
        let mut typed = Table::new();
        for text in &args.set {
            recipe::overlay(&mut typed, &recipe::parse_set(text)?);
        }
        recipe::overlay(&mut typed, &recipe::to_table(&args.flags)?);
        typed.insert("ranks".to_owned(), Value::Integer(i64::try_from(ranks::expected())?));
        let (name, mut table) = match &args.recipe {
            Some(reference) => recipe::load(reference)?,
            // Somebody with data of their own does not want the demo's settings.
            None if typed.contains_key("data") => {
                let model = typed.get("model").and_then(|model| model.as_str());
                (model.unwrap_or("pretrain").to_owned(), Table::new())
            }
            None => recipe::load("demo")?,
        };
        recipe::overlay(&mut table, &typed);
        Ok(Self { name, table, typed, recipe_named: args.recipe.is_some() })
    }

    /// What is asked of a run that goes on: a recipe that was named, and what was typed.
    fn request<'a>(&'a self, allowed: &'a Allowed) -> Request<'a> {
        let explicit = if self.recipe_named { &self.table } else { &self.typed };
        Request { explicit, whole: self.recipe_named, typed: &self.typed, allowed }
    }

    fn settings(&self) -> anyhow::Result<Settings> {
        Settings::resolve(recipe::to_flags(&format!("recipe {}", self.name), &self.table)?)
    }
}

/// Runs the command; `program` is how the user calls it, for messages.
pub fn run(args: Args, program: &str) -> anyhow::Result<()> {
    Isa::requested().map_err(usage)?;
    let resumes = args.resume.as_deref().is_some_and(|resume| resume != "none");
    let allowed = Allowed::new(&args.allow_changes, resumes)?;
    let asked = Asked::new(&args)?;
    let start = folder::choose(&args, &asked, &allowed)?;
    let (name, mut settings) = match &start {
        Start::Fresh(_) => (asked.name.clone(), asked.settings()?),
        Start::Resume(run) => (run.name(), run.settings().clone()),
    };
    start.check()?;
    if args.dry_run {
        return dry_run::print(&name, &settings);
    }
    if settings.data.is_none() {
        return Err(usage(format!("recipe {name} needs --data (a folder of images)")));
    }
    environment::settle(settings.threads, settings.compute.grad_checkpoint)?;
    let collective = ranks::connect(settings.batching.ranks)?;
    settings.rank = collective.rank();
    let outcome = Session::prepare(&settings, collective.clone())
        .and_then(|session| session.run(start, program));
    ranks::abort_if_lost(collective.as_ref(), outcome)
}
