//! A detector from its file, for what trains nothing.

use std::path::Path;
use std::sync::Arc;

use longmae_data::Coco;
use longmae_finetune::detect::Detector;
use longmae_ops::Params;
use longmae_weights::Checkpoint;
use toml::Table;

use super::categories::{Categories, Stored};
use super::flags::Flags;
use super::images::open;
use super::plan::Detecting;
use super::settings::Settings;
use crate::environment;
use crate::exit::usage;
use crate::recipe;
use crate::run::weights::{load_whole_detector, open_weights};
use crate::run::{self, RunSettings, ValidationData};

/// Settings of a stored recipe that are of its training and its machine, and not of the detector.
const OF_TRAINING: [&str; 11] = [
    "data",
    "val_data",
    "val_every",
    "init_weights",
    "allow_partial",
    "accum_iter",
    "effective_batch_size",
    "ranks",
    "grad_checkpoint",
    "device",
    "max_corrupt",
];

/// A detector, ready to find objects.
pub struct Opened {
    pub detector: Detector,
    pub settings: Settings,
    pub categories: Categories,
    /// The images of `--val-data`, if they were named.
    pub images: Option<Arc<Coco>>,
}

impl Opened {
    /// Opens the detector of a file; its sizes are those of its recipe or else those asked for. All of it must fit.
    pub fn new(args: &run::Args<Flags>, weights: &str, what: &str) -> anyhow::Result<Self> {
        let (table, flags) = args.given::<Detecting>()?;
        let weights = match (weights, flags.encoder.init_weights) {
            ("", None) => {
                return Err(usage(format!("{what} needs a detector: name it by --init-weights")));
            }
            ("", Some(weights)) => weights,
            (weights, None) => weights.to_owned(),
            (_, Some(_)) => {
                return Err(usage(format!("{what} names its detector: leave --init-weights away")));
            }
        };
        args.refuse_what_trains(what)?;
        let checkpoint = open_weights(Path::new(&weights))?;
        let stored = Stored::of(&checkpoint)?;
        let mut flags = merged(&checkpoint, &table)?;
        flags.encoder.init_weights = Some(weights.clone());
        let settings = Settings::resolve(Settings::complete(flags)?)?;
        let common = &settings.common;
        environment::settle(common.threads, false)?;
        let images = match &common.validation.data {
            ValidationData::Spec(spec) => Some(Arc::new(open(spec, common)?)),
            ValidationData::None | ValidationData::Share(_) => None,
        };
        let categories = stored.or_of(images.as_deref())?;
        let params = Params::new(common.seed, &common.device.open()?).computing(common.compute);
        let detector = Detector::new(settings.architecture.config(categories.len()), &params)?;
        load_whole_detector(&checkpoint, &params, false)?;
        Ok(Self { detector, settings, categories, images })
    }
}

/// The file's recipe, with what was asked for over it.
fn merged(checkpoint: &Checkpoint, asked: &Table) -> anyhow::Result<Flags> {
    let place = checkpoint.path().display().to_string();
    let text = checkpoint.metadata().and_then(|metadata| metadata.recipe.as_deref());
    let mut table = match text {
        // What a file says is no mistake of the arguments.
        Some(text) => recipe::parse::<Flags>(&place, text, Settings::COMMAND)
            .map_err(|error| anyhow::anyhow!("{error}"))?,
        None => Table::new(),
    };
    OF_TRAINING.iter().for_each(|key| drop(table.remove(*key)));
    recipe::overlay(&mut table, asked);
    recipe::to_flags(&place, &table)
}
