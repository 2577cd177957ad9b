//! From samples to batches: the mask and the drop-path draws are made beside each image, on the same worker.

use std::sync::Arc;

use candle_core::{Device, Tensor};
use longmae_data::rng::Purpose;
use longmae_data::transform::EvalCrop;
use longmae_data::{
    CorruptSample, EvalTransform, Item, Loader, LoaderConfig, LoaderState, Samples, Source,
    TrainTransform, Transform,
};
use longmae_masking::{MaskBatch, MaskStrategy};
use longmae_patching::PatchGrid;
use longmae_train::{Batches, BoxError, Stateful};
use longmae_vit::DropPath;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::data::Sources;
use crate::settings::Settings;

/// A batch with its masks.
pub struct Batch {
    /// Names of the samples.
    pub ids: Vec<String>,
    /// `[batch, channels, height, width]`, normalised.
    pub images: Tensor,
    /// A mask plan for each image.
    pub masks: MaskBatch,
    /// Drop-path draws, when training with it.
    pub drop_path: Option<DropPath>,
}

/// Makes batches of items.
pub struct Collate {
    strategy: Box<dyn MaskStrategy>,
    grid: PatchGrid,
    depth: usize,
    drop_path: f64,
}

impl Collate {
    /// For training; `validation` leaves drop path out.
    pub fn new(settings: &Settings, validation: bool) -> anyhow::Result<Self> {
        Ok(Self {
            strategy: settings.masks.strategy(&settings.mask_strategy)?,
            grid: settings.mae.encoder.grid,
            depth: settings.mae.encoder.tower.depth,
            drop_path: if validation { 0.0 } else { settings.drop_path },
        })
    }

    /// A batch of these items, masks drawn from each item's own generator.
    pub fn batch(&self, samples: Samples) -> Result<Batch, BoxError> {
        let device = Device::Cpu;
        let shape = samples.shape()?.to_vec();
        let Samples { items, pixels, .. } = samples;
        let plans = items
            .iter()
            .map(|item| self.strategy.plan(self.grid, &mut item.rng(Purpose::Mask)))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Batch {
            drop_path: self.drop_path(&items, &device)?,
            images: Tensor::from_vec(pixels, shape, &device)?,
            masks: MaskBatch::stack(&plans, &device)?,
            ids: items.into_iter().map(|item| item.id).collect(),
        })
    }

    fn drop_path(&self, items: &[Item], device: &Device) -> Result<Option<DropPath>, BoxError> {
        if self.drop_path == 0.0 {
            return Ok(None);
        }
        let draws = items
            .iter()
            .map(|item| {
                DropPath::draw(self.drop_path, self.depth, &mut item.rng(Purpose::DropPath))
            })
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Some(DropPath::stack(&draws, device)?))
    }
}

/// Endless training batches that can be resumed.
pub struct TrainBatches {
    source: Arc<dyn Source>,
    digest: String,
    settings: Settings,
    loader: Loader<Batch>,
    /// The first batch, made ahead to show that data can be read; not yet counted in the state.
    first: Option<(Batch, LoaderState)>,
}

impl TrainBatches {
    /// Starts loading and waits for the first batch.
    pub fn open(sources: &Sources, settings: &Settings) -> anyhow::Result<Self> {
        let source = sources.train.clone();
        let digest = digest(source.as_ref());
        let mut loader = train_loader(&source, settings, LoaderState::seeded(settings.seed))?;
        let state = loader.state();
        let first = loader.next_batch().transpose()?.map(|batch| (batch, state));
        Ok(Self { source, digest, settings: settings.clone(), loader, first })
    }

    /// Corrupt samples of the first batch, which was made before the run had a log.
    pub fn early_corrupt(&self) -> &[CorruptSample] {
        if self.first.is_some() { self.loader.corrupt() } else { &[] }
    }

    /// Corrupt samples met so far, in earlier sessions too.
    pub fn corrupt(&self) -> &[CorruptSample] {
        self.loader.corrupt()
    }

    fn steps_per_epoch(&self) -> u64 {
        self.loader.batches_per_epoch() / self.settings.batching.accum_iter as u64
    }
}

impl Stateful for TrainBatches {
    fn name(&self) -> &'static str {
        "loader"
    }

    fn save(&self) -> serde_json::Value {
        let state = self.first.as_ref().map_or_else(|| self.loader.state(), |(_, state)| *state);
        serde_json::json!({
            "seed": state.seed,
            "epoch": state.epoch,
            "position": state.position,
            "images": self.source.len(),
            "digest": self.digest,
            "steps_per_epoch": self.steps_per_epoch(),
            "corrupt": self.loader.corrupt(),
        })
    }

    fn restore(&mut self, state: &serde_json::Value) -> Result<(), BoxError> {
        if state.is_null() {
            return Err("the checkpoint holds no loader state".into());
        }
        let (images, digest) = (state["images"].as_u64(), state["digest"].as_str());
        if images != Some(self.source.len() as u64) || digest != Some(&self.digest) {
            let (then, now) = (images.unwrap_or_default(), self.source.len());
            return Err(format!(
                "the data is not what the run was begun with: {then} images then, {now} now, or other names"
            )
            .into());
        }
        let number =
            |key: &str| state[key].as_u64().ok_or_else(|| format!("its loader state has no {key}"));
        let (then, now) = (state["steps_per_epoch"].as_u64(), self.steps_per_epoch());
        if let Some(then) = then.filter(|then| *then != now) {
            return Err(format!(
                "an epoch of the data had {then} steps when the run was begun, and has {now} now: the weights of its \
                 parts are not what they were"
            )
            .into());
        }
        let start = LoaderState {
            seed: number("seed")?,
            epoch: number("epoch")?,
            position: number("position")?,
        };
        // Null in checkpoints of before they were kept.
        let corrupt = Option::<Vec<CorruptSample>>::deserialize(&state["corrupt"])?;
        self.first = None;
        self.loader =
            loader_after(&self.source, &self.settings, start, corrupt.unwrap_or_default())?;
        Ok(())
    }
}

impl Batches for TrainBatches {
    type Batch = Batch;

    fn next_batch(&mut self) -> Result<Option<Batch>, BoxError> {
        if let Some((batch, _)) = self.first.take() {
            return Ok(Some(batch));
        }
        Ok(self.loader.next_batch().transpose()?)
    }
}

/// A hash of the names of all samples, in order.
fn digest(source: &dyn Source) -> String {
    let mut hasher = Sha256::new();
    for index in 0..source.len() {
        hasher.update(source.id(index));
        hasher.update([0]);
    }
    hasher.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// Endless batches to train on, from `start` on.
pub fn train_loader(
    source: &Arc<dyn Source>,
    settings: &Settings,
    start: LoaderState,
) -> anyhow::Result<Loader<Batch>> {
    loader_after(source, settings, start, Vec::new())
}

/// Endless batches to train on, from `start` on; before it, `known_corrupt` were met.
fn loader_after(
    source: &Arc<dyn Source>,
    settings: &Settings,
    start: LoaderState,
    known_corrupt: Vec<CorruptSample>,
) -> anyhow::Result<Loader<Batch>> {
    let config = LoaderConfig {
        group: settings.batching.effective,
        repeat: settings.repeat,
        aug_repeats: settings.aug_repeats,
        start,
        known_corrupt,
        ..loader_config(settings)
    };
    let transform = TrainTransform {
        size: settings.size,
        crop: settings.crop.clone(),
        flip: settings.flip.clone(),
        normalize: settings.normalize.clone(),
    };
    loader(source, Arc::new(transform), Collate::new(settings, false)?, config)
}

/// One pass over data in its own order, with masks that are the same every time.
pub fn validation_loader(
    source: &Arc<dyn Source>,
    settings: &Settings,
) -> anyhow::Result<Loader<Batch>> {
    let config = LoaderConfig {
        shuffle: false,
        drop_last: false,
        epochs: Some(1),
        ..loader_config(settings)
    };
    let transform = EvalTransform {
        size: settings.size,
        crop: settings.crop.as_ref().map(|_| EvalCrop::default()),
        normalize: settings.normalize.clone(),
    };
    loader(source, Arc::new(transform), Collate::new(settings, true)?, config)
}

/// What training and validation share; by default a loader shuffles, drops the last group and never ends.
fn loader_config(settings: &Settings) -> LoaderConfig {
    LoaderConfig {
        start: LoaderState::seeded(settings.seed),
        workers: settings.workers,
        queue: settings.workers + 2,
        batch_size: settings.batching.batch_size,
        group: settings.batching.batch_size * settings.batching.ranks,
        rank: settings.rank,
        world: settings.batching.ranks,
        max_corrupt: settings.max_corrupt,
        ..LoaderConfig::default()
    }
}

fn loader(
    source: &Arc<dyn Source>,
    transform: Arc<dyn Transform>,
    collate: Collate,
    config: LoaderConfig,
) -> anyhow::Result<Loader<Batch>> {
    let collate = move |samples: Samples| collate.batch(samples);
    Ok(Loader::new(source.clone(), transform, collate, config)?)
}
