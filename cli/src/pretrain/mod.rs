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
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use candle_core::Device;
use longmae_mae::Mae;
use longmae_ops::Params;
use longmae_train::{Checkpoint, MetricsLog, Outcome, Schedule, TrainConfig, Trainer};
use toml::Table;

use crate::exit::usage;
use crate::flags::Flags;
use crate::recipe;
use crate::settings::Settings;
use crate::terminal::{Terminal, plural};
use batch::TrainBatches;
use data::Sources;
use folder::{RunFolder, Start};
use observer::PretrainObserver;
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
    /// Weights to start from: a safetensors file with MAE's names, or a folder that holds one
    #[arg(long, alias = "init_weights", value_name = "FILE|DIR", help_heading = "Run")]
    init_weights: Option<PathBuf>,
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
}

impl Asked {
    fn new(args: &Args) -> anyhow::Result<Self> {
        let mut typed = Table::new();
        for text in &args.set {
            typed.extend(recipe::parse_set(text)?);
        }
        typed.extend(recipe::to_table(&args.flags)?);
        let (name, mut table) = match &args.recipe {
            Some(reference) => recipe::load(reference)?,
            // Somebody with data of their own does not want the demo's settings.
            None if typed.contains_key("data") => {
                let model = typed.get("model").and_then(|model| model.as_str());
                (model.unwrap_or("pretrain").to_owned(), Table::new())
            }
            None => recipe::load("demo")?,
        };
        table.extend(typed.clone());
        Ok(Self { name, table, typed })
    }

    fn settings(&self) -> anyhow::Result<Settings> {
        Settings::resolve(recipe::to_flags(&self.name, &self.table)?)
    }
}

/// Runs the command; `program` is how the user calls it, for messages.
pub fn run(args: Args, program: &str) -> anyhow::Result<()> {
    let asked = Asked::new(&args)?;
    let settings = asked.settings()?;
    if args.dry_run {
        return dry_run::print(&asked.name, &settings);
    }
    let start = folder::choose(&args, &asked)?;
    let settings = match &start {
        Start::Fresh(_) => settings,
        Start::Resume(run) => run.settings(&asked.typed)?,
    };
    if settings.data.is_none() {
        return Err(usage(format!("recipe {} needs --data (a folder of images)", asked.name)));
    }
    threads(settings.threads);
    train(&args, &settings, start, program)
}

/// Gives the model's computation this many threads.
fn threads(count: usize) {
    // An error means that the pool exists already; its size then stays as it is.
    let _ = rayon::ThreadPoolBuilder::new().num_threads(count).build_global();
}

fn train(args: &Args, settings: &Settings, start: Start, program: &str) -> anyhow::Result<()> {
    let sources = Sources::open(settings)?;
    let steps_per_epoch = sources.steps_per_epoch(settings)?;
    let config = train_config(settings, steps_per_epoch)?;
    let params = Params::new(settings.seed, &Device::Cpu);
    let mae = Mae::new(settings.mae, &params)?;
    if let Some(weights) = &args.init_weights {
        info::load_weights(weights, &params, settings)?;
    }
    // The first batch is made before anything is written: data that cannot be read leave no half-started run.
    let mut batches = TrainBatches::open(sources.train.clone(), settings)?;
    let (folder, checkpoint) = start.open(&config.recipe)?;
    let terminal = Terminal::start(&folder.log_path(), settings.log_every)?;
    let task = PretrainTask::new(mae, params, settings, steps_per_epoch);
    let mut trainer = Trainer::new(task, config.clone(), folder.checkpoints())?;
    let checkpoint = match checkpoint {
        true => folder.latest_checkpoint()?,
        false => None,
    };
    if let Some(checkpoint) = &checkpoint {
        restore(&mut trainer, checkpoint, &mut batches)?;
    }
    let done = trainer.progress().step;
    if done >= config.total_steps {
        terminal.say(&format!("{} is finished: {done} steps are done", folder.path().display()));
        return Ok(());
    }
    terminal.say(&greeting(settings, &config, &sources, &folder, done));
    let mut observer =
        PretrainObserver::new(&terminal, settings, &sources, &folder, &config, done)?;
    let mut metrics = MetricsLog::open(&folder.metrics_path(), done)?;
    let stop = stop_flag(&terminal)?;
    let outcome = trainer.run(&mut batches, &mut observer, &mut metrics, &stop);
    observer.close();
    for sample in batches.corrupt() {
        tracing::info!("corrupt sample {}: {}", sample.id, sample.reason);
    }
    let outcome = outcome.with_context(|| format!("run {}", folder.path().display()))?;
    finish(&trainer, outcome, &folder, &terminal, program, batches.corrupt().len())
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
            warmup_epochs: settings.warmup_epochs,
            epochs,
        },
        adamw: settings.adamw,
        clip_grad: settings.clip_grad,
        save_every: settings.save_every,
        keep: settings.keep,
        recipe: recipe::to_table(&settings.flags)?.to_string(),
    })
}

fn restore(
    trainer: &mut Trainer<PretrainTask>,
    checkpoint: &Checkpoint,
    batches: &mut TrainBatches,
) -> anyhow::Result<()> {
    trainer
        .restore(checkpoint, batches)
        .with_context(|| format!("cannot resume from {}", checkpoint.path().display()))
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
    let rest = config.total_steps - done;
    format!(
        "{verb} {model} on {images}: L = {} ({}x{} patches), {} visible, mask unit {}, {} to go\nrun folder: {}",
        grid.len(),
        grid.rows(),
        grid.cols(),
        settings.kept,
        settings.masks.unit,
        plural(rest, "step"),
        folder.path().display()
    )
}

/// A flag that Ctrl-C and SIGTERM raise; a second signal ends the program at once.
fn stop_flag(terminal: &Terminal) -> anyhow::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let (flag, terminal) = (stop.clone(), terminal.clone());
    ctrlc::set_handler(move || {
        if flag.swap(true, Ordering::SeqCst) {
            std::process::exit(130);
        }
        terminal.say("finishing this step, then saving (once more to stop at once)");
    })
    .context("cannot listen for Ctrl-C")?;
    Ok(stop)
}

fn finish(
    trainer: &Trainer<PretrainTask>,
    outcome: Outcome,
    folder: &RunFolder,
    terminal: &Terminal,
    program: &str,
    corrupt: usize,
) -> anyhow::Result<()> {
    let progress = trainer.progress();
    let path = folder.path().display();
    if corrupt > 0 {
        terminal.say(&format!(
            "{} skipped as corrupt; log.txt names them",
            plural(corrupt as u64, "image")
        ));
    }
    if outcome == Outcome::Stopped {
        let step = progress.step;
        terminal.say(&format!("stopped after step {step}; go on with: {program} --resume {path}"));
        return Ok(());
    }
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
