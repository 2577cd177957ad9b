//! Pre-training: from arguments to a run folder.

mod batch;
mod data;
mod dry_run;
mod folder;
mod info;
mod observer;
mod pictures;
mod task;
mod validation;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::Context;
use candle_core::Device;
use longmae_mae::Mae;
use longmae_ops::Params;
use longmae_train::{MetricsLog, Outcome, Schedule, TrainConfig, Trainer};
use toml::Table;

use crate::exit::usage;
use crate::flags::Flags;
use crate::recipe;
use crate::settings::Settings;
use crate::signals;
use crate::terminal::{Terminal, plural};
use crate::threads;
use batch::TrainBatches;
use data::Sources;
use folder::{RunFolder, Start};
use observer::{PretrainObserver, Watched};
use pictures::Pictures;
use task::PretrainTask;

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

    /// What was asked for in so many words: a recipe that was named, and what was typed.
    fn explicit(&self) -> &Table {
        if self.recipe_named { &self.table } else { &self.typed }
    }

    fn settings(&self) -> anyhow::Result<Settings> {
        Settings::resolve(recipe::to_flags(&format!("recipe {}", self.name), &self.table)?)
    }
}

/// Runs the command; `program` is how the user calls it, for messages.
pub fn run(args: Args, program: &str) -> anyhow::Result<()> {
    let asked = Asked::new(&args)?;
    let start = folder::choose(&args, &asked)?;
    let (name, settings) = match &start {
        Start::Fresh(_) => (asked.name.clone(), asked.settings()?),
        Start::Resume(run) => (run.name(), run.settings(&asked.typed)?),
    };
    start.check()?;
    if args.dry_run {
        return dry_run::print(&name, &settings);
    }
    if settings.data.is_none() {
        return Err(usage(format!("recipe {name} needs --data (a folder of images)")));
    }
    threads::limit(settings.threads)?;
    train(&settings, start, program)
}

fn train(settings: &Settings, start: Start, program: &str) -> anyhow::Result<()> {
    // Everything that can refuse comes before the folder is made: a mistake leaves no half-started run.
    let sources = Sources::open(settings)?;
    let config = train_config(settings, sources.steps_per_epoch(settings)?)?;
    let params = Params::new(settings.seed, &Device::Cpu);
    let mae = Mae::new(settings.mae, &params)?;
    if let Some(weights) = &settings.flags.init_weights {
        info::load_weights(Path::new(weights), &params, settings)?;
    }
    let mut batches = TrainBatches::open(&sources, settings)?;
    let pictures = Pictures::new(sources.shown(), settings)?;

    let (folder, resumes) = start.open(&config.recipe)?;
    let terminal = Terminal::start(&folder.log_path(), settings.log_every)?;
    let task = PretrainTask::new(mae, params, settings, config.steps_per_epoch);
    let mut trainer = Trainer::new(task, config.clone(), folder.checkpoints())?;
    if resumes && let Some(checkpoint) = folder.latest_checkpoint()? {
        let context = || format!("cannot resume from {}", checkpoint.path().display());
        trainer.restore(&checkpoint, &mut batches).with_context(context)?;
    }
    let done = trainer.progress().step;
    if done >= config.total_steps {
        let path = folder.path().display();
        terminal.say(&format!("{path} is finished: {} done", plural(done, "step")));
        return finish(&trainer, &folder, &terminal);
    }
    terminal.say(&greeting(settings, &config, &sources, &folder, done));
    // Met before there was a log.
    for sample in batches.corrupt() {
        tracing::warn!(
            "corrupt sample {} is replaced by the next good one: {}",
            sample.id,
            sample.reason
        );
    }
    for warning in warnings(settings, &config) {
        tracing::warn!("{warning}");
    }
    let watched = Watched { settings, sources: &sources, folder: &folder, config: &config, done };
    let mut observer = PretrainObserver::new(&terminal, &watched, pictures)?;
    let mut metrics = MetricsLog::open(&folder.metrics_path(), done, trainer.progress().epoch)?;
    let stop = stop_flag(&terminal)?;
    let outcome = trainer.run(&mut batches, &mut observer, &mut metrics, &stop);
    observer.close();
    let outcome = outcome.with_context(|| {
        let path = folder.path().display();
        format!(
            "run {path} ended early (its last checkpoint can be resumed: {program} --resume {path})"
        )
    })?;
    tell_losses(&trainer, &batches, &terminal);
    match outcome {
        Outcome::Finished => finish(&trainer, &folder, &terminal),
        Outcome::Stopped => {
            let (step, path) = (trainer.progress().step, folder.path().display());
            terminal
                .say(&format!("stopped after step {step}; go on with: {program} --resume {path}"));
            Ok(())
        }
    }
}

fn train_config(settings: &Settings, steps_per_epoch: u64) -> anyhow::Result<TrainConfig> {
    let whole = (settings.epochs * steps_per_epoch as f64).round().max(1.0) as u64;
    let total_steps = settings.max_steps.map_or(whole, |max| max.min(whole));
    let epochs = total_steps as f64 / steps_per_epoch as f64;
    Ok(TrainConfig {
        total_steps,
        steps_per_epoch,
        accum_iter: settings.batching.accum_iter,
        schedule: Schedule {
            lr: settings.lr,
            min_lr: settings.min_lr,
            warmup_epochs: settings.warmup_epochs.unwrap_or(epochs / 20.0),
            epochs,
        },
        adamw: settings.adamw,
        clip_grad: settings.clip_grad,
        save_every: settings.save_every,
        keep: settings.keep,
        recipe: recipe::to_table(&settings.flags)?.to_string(),
    })
}

fn greeting(
    settings: &Settings,
    config: &TrainConfig,
    sources: &Sources,
    folder: &RunFolder,
    done: u64,
) -> String {
    let grid = settings.mae.encoder.grid;
    let model = settings.flags.model.as_deref().unwrap_or_default();
    let images = plural(sources.train.len() as u64, "image");
    let verb = if done == 0 { "training" } else { "resuming" };
    format!(
        "{verb} {model} on {images}: L = {} ({}x{} patches), {} visible, mask unit {}, {} to go\n\
         run folder: {}",
        grid.len(),
        grid.rows(),
        grid.cols(),
        settings.kept,
        settings.masks.unit,
        plural(config.total_steps - done, "step"),
        folder.path().display()
    )
}

/// What a user would want to know before a long run.
fn warnings(settings: &Settings, config: &TrainConfig) -> Vec<String> {
    let mut warnings = Vec::new();
    let schedule = config.schedule;
    if schedule.warmup_epochs >= schedule.epochs {
        warnings.push(format!(
            "the run's {:.2} epochs end within the warm-up of {}: the learning rate never reaches its peak",
            schedule.epochs, schedule.warmup_epochs
        ));
    }
    if let (Ok(needed), Some(has)) = (dry_run::memory(settings), memory_of_machine())
        && needed > has
    {
        warnings.push(format!(
            "the run needs about {:.1} GB (estimate), this machine has {:.1} GB: a smaller --batch-size with \
             --accum-iter needs less",
            needed / 1e9,
            has / 1e9
        ));
    }
    warnings
}

/// Bytes of memory that the machine has, where the system tells (Linux).
fn memory_of_machine() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024.0)
}

fn stop_flag(terminal: &Terminal) -> anyhow::Result<Arc<AtomicBool>> {
    let terminal = terminal.clone();
    signals::stop_flag(move || {
        terminal.say("finishing this step, then saving (once more to stop at once)");
    })
}

/// Says what was left out of the run: corrupt images, steps without an update.
fn tell_losses(trainer: &Trainer<PretrainTask>, batches: &TrainBatches, terminal: &Terminal) {
    let corrupt = batches.corrupt().len() as u64;
    if corrupt > 0 {
        let images = plural(corrupt, "image");
        terminal.say(&format!("{images} skipped as corrupt; log.txt names them"));
    }
    if trainer.skipped() > 0 {
        let steps = plural(trainer.skipped(), "step");
        terminal
            .say(&format!("{steps} skipped: loss or gradient was not finite (see metrics.jsonl)"));
    }
}

/// Writes the encoder and says where everything is.
fn finish(
    trainer: &Trainer<PretrainTask>,
    folder: &RunFolder,
    terminal: &Terminal,
) -> anyhow::Result<()> {
    let progress = trainer.progress();
    let encoder = folder.path().join("encoder.safetensors");
    trainer.task().save_encoder(&encoder, progress.step, progress.loss)?;
    let loss = progress.loss.map_or_else(|| "unknown".to_owned(), |loss| format!("{loss:.4}"));
    terminal.say(&format!("done: {}, last loss {loss}", plural(progress.step, "step")));
    terminal.say(&folder.contents());
    terminal.say(&next_steps(&encoder));
    Ok(())
}

fn next_steps(encoder: &Path) -> String {
    format!(
        "next: look at loss.svg and reconstructions/, then load {} into timm (README, \"Use the encoder\"),\nor \
         train on images of your own: mae-pretrain --data FOLDER --model vit-tiny --image-size 224 --mask-unit 2",
        encoder.display()
    )
}
