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
use longmae_ops::{Upload, Uploader};
use longmae_patching::PatchGrid;
use longmae_train::BoxError;
use longmae_vit::DropPath;

use super::settings::Settings;
use crate::run::{RunBatches, loader_config};

/// A batch with its masks, as workers make it.
pub struct Batch {
    /// Names of the samples.
    pub ids: Vec<String>,
    /// `[batch, channels, height, width]`, normalised; those to train on are on their way to the model's device.
    pub images: Upload,
    /// A mask plan for each image, on the CPU.
    pub masks: MaskBatch,
    /// Drop-path draws, when training with it.
    pub drop_path: Option<DropPath>,
}

impl Batch {
    /// Images and masks where the model is.
    pub fn on(&self, device: &Device) -> anyhow::Result<(Tensor, MaskBatch)> {
        Ok((self.images.tensor()?.to_device(device)?, self.masks.to_device(device)?))
    }
}

/// Makes batches of items.
pub struct Collate {
    strategy: Box<dyn MaskStrategy>,
    grid: PatchGrid,
    depth: usize,
    drop_path: f64,
    uploader: Uploader,
}

impl Collate {
    /// For training on a device.
    pub fn new(settings: &Settings, device: &Device) -> anyhow::Result<Self> {
        Ok(Self {
            strategy: settings.masks.strategy(&settings.mask_strategy)?,
            grid: settings.mae.encoder.grid,
            depth: settings.mae.encoder.tower.depth,
            drop_path: settings.common.drop_path,
            uploader: Uploader::new(device)?,
        })
    }

    /// Without drop path, images staying on the CPU.
    pub fn validation(settings: &Settings) -> anyhow::Result<Self> {
        Ok(Self { drop_path: 0.0, ..Self::new(settings, &Device::Cpu)? })
    }

    /// A batch of these items, masks drawn from each item's own generator.
    pub fn batch(&self, samples: Samples) -> Result<Batch, BoxError> {
        let shape = samples.shape()?.to_vec();
        let Samples { items, pixels, .. } = samples;
        let plans = items
            .iter()
            .map(|item| self.strategy.plan(self.grid, &mut item.rng(Purpose::Mask)))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Batch {
            drop_path: self.drop_path(&items)?,
            images: self.uploader.begin(pixels, shape)?,
            masks: MaskBatch::stack(&plans, &Device::Cpu)?,
            ids: items.into_iter().map(|item| item.id).collect(),
        })
    }

    fn drop_path(&self, items: &[Item]) -> Result<Option<DropPath>, BoxError> {
        if self.drop_path == 0.0 {
            return Ok(None);
        }
        let draws = items
            .iter()
            .map(|item| {
                DropPath::draw(self.drop_path, self.depth, &mut item.rng(Purpose::DropPath))
            })
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Some(DropPath::stack(&draws)?))
    }
}

/// Endless training batches that can be resumed, for a model on a device.
pub fn train_batches(
    source: &Arc<dyn Source>,
    settings: &Settings,
    device: &Device,
) -> anyhow::Result<RunBatches<Batch>> {
    let (of, device) = (settings.clone(), device.clone());
    RunBatches::open(source, &settings.common, move |source, start, known_corrupt| {
        loader_after(source, &of, &device, start, known_corrupt)
    })
}

/// Endless batches to train on, from `start` on.
pub fn train_loader(
    source: &Arc<dyn Source>,
    settings: &Settings,
    start: LoaderState,
) -> anyhow::Result<Loader<Batch>> {
    loader_after(source, settings, &Device::Cpu, start, Vec::new())
}

/// Endless batches to train on, from `start` on; before it, `known_corrupt` were met.
fn loader_after(
    source: &Arc<dyn Source>,
    settings: &Settings,
    device: &Device,
    start: LoaderState,
    known_corrupt: Vec<CorruptSample>,
) -> anyhow::Result<Loader<Batch>> {
    let config = LoaderConfig {
        group: settings.common.batching.effective,
        repeat: settings.common.repeat,
        aug_repeats: settings.common.aug_repeats,
        start,
        known_corrupt,
        ..loader_config(&settings.common)
    };
    let transform = TrainTransform {
        size: settings.common.size,
        crop: settings.common.crop.clone(),
        flip: settings.common.flip.clone(),
        normalize: settings.common.normalize.clone(),
    };
    loader(source, Arc::new(transform), Collate::new(settings, device)?, config)
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
        ..loader_config(&settings.common)
    };
    let transform = EvalTransform {
        size: settings.common.size,
        crop: settings.common.crop.as_ref().map(|_| EvalCrop::default()),
        normalize: settings.common.normalize.clone(),
    };
    loader(source, Arc::new(transform), Collate::validation(settings)?, config)
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
