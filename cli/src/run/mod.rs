//! What all training runs share: from arguments to a run's folder, whatever it is that is trained.

mod batches;
mod changes;
mod curve;
mod data;
pub mod dry_run;
pub mod evaluation;
pub mod flags;
mod folder;
pub mod numbers;
mod observer;
mod plan;
mod recipe_file;
mod session;
mod settings;
pub mod weights;
mod words;

pub use batches::{RunBatches, loader_config};
pub use curve::Chart;
pub use data::Sources;
pub use folder::{
    CHECKPOINTS, CLASSIFIER, DETECTOR, ENCODER, LOSS, METRICS, PROBE, RECIPE, RECONSTRUCTIONS,
    RunFolder, prepare_out,
};
pub use observer::Events;
pub use plan::{Lead, Plan, Prepared};
pub use recipe_file::RecipeFile;
pub use settings::{Common, Defaults, Groups, RunSettings, ValidationData, pool};
pub use words::{Started, too_large};

use std::path::PathBuf;

use longmae_ops::Isa;
use toml::{Table, Value};

use crate::environment;
use crate::exit::usage;
use crate::output::line;
use crate::ranks;
use crate::recipe::{self, Keys};
use changes::{Allowed, Request};
use folder::Start;
use session::Session;

/// The arguments of a command that trains, with the settings of its kind.
#[derive(clap::Args)]
// Within arguments of its own kind that add to it.
#[group(skip)]
pub struct Args<F: clap::Args> {
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
    flags: F,
}

impl<F: Keys> Args<F> {
    /// The settings that recipe, `--set` and flags give together, as they are written: as a table and as flags.
    pub fn given<P: Plan>(&self) -> anyhow::Result<(Table, F)> {
        let asked = Asked::new(self, P::default_recipe, P::Settings::COMMAND)?;
        let flags = recipe::to_flags(&format!("recipe {}", asked.name), &asked.table)?;
        Ok((asked.table, flags))
    }

    /// Refuses what only a run that trains has; `what` was asked for.
    pub fn refuse_what_trains(&self, what: &str) -> anyhow::Result<()> {
        let given = [
            ("--dry-run", self.dry_run),
            ("--resume", self.resume.is_some()),
            ("--allow-changes", !self.allow_changes.is_empty()),
        ];
        match given.iter().find(|(_, given)| *given) {
            Some((flag, _)) => {
                Err(usage(format!("{flag} is for a run that trains: leave it or {what} away")))
            }
            None => Ok(()),
        }
    }

    /// Where to write.
    pub fn out(&self) -> Option<&std::path::Path> {
        self.out.as_deref()
    }
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
    /// `default` gives the name of a run without a recipe, and the recipe that it takes then, from what was typed.
    fn new<F: Keys>(
        args: &Args<F>,
        default: fn(&Table) -> (String, Option<&'static str>),
        command: &str,
    ) -> anyhow::Result<Self> {
        let mut typed = Table::new();
        for text in &args.set {
            recipe::overlay(&mut typed, &recipe::parse_set::<F>(text)?);
        }
        recipe::overlay(&mut typed, &recipe::to_table(&args.flags)?);
        typed.insert("ranks".to_owned(), Value::Integer(i64::try_from(ranks::expected()?)?));
        let (name, mut table) = match (&args.recipe, default(&typed)) {
            (Some(reference), _) => recipe::load::<F>(reference, command)?,
            (None, (_, Some(built_in))) => recipe::load::<F>(built_in, command)?,
            (None, (name, None)) => (name, Table::new()),
        };
        recipe::overlay(&mut table, &typed);
        Ok(Self { name, table, typed, recipe_named: args.recipe.is_some() })
    }

    /// What is asked of a run that goes on: a recipe that was named, and what was typed.
    fn request<'a>(&'a self, allowed: &'a Allowed) -> Request<'a> {
        let explicit = if self.recipe_named { &self.table } else { &self.typed };
        Request { explicit, whole: self.recipe_named, typed: &self.typed, allowed }
    }

    fn settings<S: RunSettings>(&self) -> anyhow::Result<S> {
        let flags = recipe::to_flags(&format!("recipe {}", self.name), &self.table)?;
        S::resolve(S::complete(flags)?)
    }
}

/// Runs a command that trains; `program` is how the user calls it, for messages.
pub fn run<P: Plan>(
    args: Args<<P::Settings as RunSettings>::Flags>,
    program: &str,
) -> anyhow::Result<()> {
    Isa::requested().map_err(usage)?;
    let resumes = args.resume.as_deref().is_some_and(|resume| resume != "none");
    let allowed = Allowed::new::<P::Settings>(&args.allow_changes, resumes)?;
    let asked = Asked::new(&args, P::default_recipe, P::Settings::COMMAND)?;
    let start = folder::choose::<P::Settings>(&args, &asked, &allowed)?;
    let (name, mut settings) = match &start {
        Start::Fresh(_) => (asked.name.clone(), asked.settings::<P::Settings>()?),
        Start::Resume(run) => (run.name(), run.settings().clone()),
    };
    start.check()?;
    if args.dry_run {
        if let Some(reference) = &args.recipe {
            recipe::about(&recipe::text(reference)?).for_each(|said| line(format!("# {said}")));
        }
        return P::dry_run(&name, &settings);
    }
    settings.common().device.check_built()?;
    if settings.common().data.is_none() {
        return Err(usage(format!("recipe {name} needs --data (a folder of images)")));
    }
    let compute = settings.common().compute;
    environment::settle(settings.common().threads, compute.grad_checkpoint)?;
    let collective = ranks::connect(settings.common().batching.ranks)?;
    settings.common_mut().rank = collective.rank();
    if let Start::Resume(run) = &start {
        settings.common_mut().resumed = run.has_checkpoint()?;
    }
    let outcome = Session::<P>::prepare(settings, collective.clone())
        .and_then(|session| session.run(start, program));
    ranks::abort_if_lost(collective.as_ref(), outcome)
}
