//! From labelled images to batches: mixed on the worker that read them.

use std::sync::Arc;

use candle_core::{Device, Tensor};
use longmae_data::rng::Purpose;
use longmae_data::transform::mixup::mix_images;
use longmae_data::{
    BatchShape, ClassifyTransform, EvalTransform, Item, Loader, LoaderConfig, Mixup, Samples,
    Source, Targets,
};
use longmae_train::BoxError;
use longmae_vit::DropPath;

use super::settings::Settings;
use crate::labels::class;
use crate::run::{Common, RunBatches, loader_config};

/// A batch to train on.
pub struct Batch {
    /// Names of the samples.
    pub ids: Vec<String>,
    /// `[batch, channels, height, width]`, normalised.
    pub images: Tensor,
    /// What each image is to be taken for: `[batch, classes]`.
    pub targets: Tensor,
    /// Drop-path draws, when training with it.
    pub drop_path: Option<DropPath>,
}

/// Makes batches of items.
#[derive(Clone)]
pub struct Collate {
    targets: Targets,
    classes: usize,
    mixup: Option<Mixup>,
    depth: usize,
    drop_path: f64,
}

impl Collate {
    /// As fine-tuning trains.
    pub fn new(settings: &Settings, classes: usize) -> anyhow::Result<Self> {
        Ok(Self {
            targets: Targets::new(classes, settings.smoothing)?,
            classes,
            mixup: settings.mixup.clone(),
            depth: settings.common.encoder.tower.depth,
            drop_path: settings.common.drop_path,
        })
    }

    /// Nothing is mixed, smoothed or dropped.
    pub fn plain(classes: usize) -> anyhow::Result<Self> {
        let targets = Targets::new(classes, 0.0)?;
        Ok(Self { targets, classes, mixup: None, depth: 0, drop_path: 0.0 })
    }

    /// What is mixed is drawn from the generator of the batch's first place.
    fn batch(&self, samples: Samples) -> Result<Batch, BoxError> {
        let [count, channels, height, width] = samples.shape()?;
        let Samples { items, mut pixels, .. } = samples;
        let labels = labels(&items)?;
        let targets = match &self.mixup {
            None => self.targets.smoothed(&labels)?,
            Some(mixup) => {
                let shape = BatchShape { samples: count, channels, height, width };
                let mixes = mixup.draw(shape, &mut items[0].rng(Purpose::Mix))?;
                mix_images(&mut pixels, shape, &mixes)?;
                self.targets.mixed(&labels, &mixes)?
            }
        };
        let device = Device::Cpu;
        Ok(Batch {
            drop_path: self.drop_path(&items)?,
            images: Tensor::from_vec(pixels, (count, channels, height, width), &device)?,
            targets: Tensor::from_vec(targets, (count, self.classes), &device)?,
            ids: items.into_iter().map(|item| item.id).collect(),
        })
    }

    fn drop_path(&self, items: &[Item]) -> Result<Option<DropPath>, BoxError> {
        if self.drop_path == 0.0 {
            return Ok(None);
        }
        let draw = |item: &Item| {
            DropPath::draw(self.drop_path, self.depth, &mut item.rng(Purpose::DropPath))
        };
        let draws = items.iter().map(draw).collect::<Result<Vec<_>, _>>()?;
        Ok(Some(DropPath::stack(&draws)?))
    }
}

/// The classes of items, all of which have one.
fn labels(items: &[Item]) -> Result<Vec<usize>, BoxError> {
    let label =
        |item: &Item| class(&item.target).ok_or_else(|| format!("{} has no class", item.id).into());
    items.iter().map(label).collect()
}

/// Endless training batches that can be resumed.
pub fn train_batches(
    source: &Arc<dyn Source>,
    common: &Common,
    transform: &ClassifyTransform,
    collate: Collate,
) -> anyhow::Result<RunBatches<Batch>> {
    let (of, transform) = (common.clone(), Arc::new(transform.clone()));
    RunBatches::open(source, common, move |source, start, known_corrupt| {
        let config = LoaderConfig {
            group: of.batching.effective,
            repeat: of.repeat,
            aug_repeats: of.aug_repeats,
            start,
            known_corrupt,
            ..loader_config(&of)
        };
        let collate = collate.clone();
        let collate = move |samples: Samples| collate.batch(samples);
        Ok(Loader::new(source.clone(), transform.clone(), collate, config)?)
    })
}

/// A batch to evaluate on.
pub struct EvalBatch {
    pub ids: Vec<String>,
    pub images: Tensor,
    /// The class of each image.
    pub labels: Vec<u32>,
}

/// One pass over data in its own order.
pub fn eval_loader(
    source: &Arc<dyn Source>,
    transform: &EvalTransform,
    common: &Common,
) -> anyhow::Result<Loader<EvalBatch>> {
    let config =
        LoaderConfig { shuffle: false, drop_last: false, epochs: Some(1), ..loader_config(common) };
    let collate = |samples: Samples| -> Result<EvalBatch, BoxError> {
        let shape = samples.shape()?.to_vec();
        let Samples { items, pixels, .. } = samples;
        Ok(EvalBatch {
            images: Tensor::from_vec(pixels, shape, &Device::Cpu)?,
            labels: labels(&items)?.into_iter().map(|label| label as u32).collect(),
            ids: items.into_iter().map(|item| item.id).collect(),
        })
    };
    Ok(Loader::new(source.clone(), Arc::new(transform.clone()), collate, config)?)
}
