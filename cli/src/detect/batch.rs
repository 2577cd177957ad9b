//! From images with objects to batches: outlines are drawn on the worker that read them.

use std::sync::Arc;

use candle_core::{Device, Tensor};
use longmae_data::rng::Purpose;
use longmae_data::transform::detection::DetectionEval;
use longmae_data::{
    Coco, Instance, Instances, Item, Loader, LoaderConfig, MaxCorrupt, Samples, Size, Source,
    Target as Known,
};
use longmae_finetune::detect::boxes::has_inside;
use longmae_finetune::detect::{Bitmap, Corners, Target};
use longmae_train::BoxError;
use longmae_vit::DropPath;

use super::settings::Settings;
use crate::run::{Common, RunBatches, loader_config};

/// A batch to train on.
pub struct Batch {
    /// Each image's name and place in the run; that of the first one draws which regions are learned from.
    pub items: Vec<Item>,
    /// `[batch, channels, side, side]`, normalised, with zeros beside the images.
    pub images: Tensor,
    /// `(height, width)` of each image without the zeros.
    pub sizes: Vec<(usize, usize)>,
    pub targets: Vec<Target>,
    /// Drop-path draws, when training with it.
    pub drop_path: Option<DropPath>,
}

/// Makes batches of items.
#[derive(Clone)]
struct Collate {
    masks: bool,
    depth: usize,
    drop_path: f64,
}

impl Collate {
    fn batch(&self, samples: Samples) -> Result<Batch, BoxError> {
        let shape = samples.shape()?.to_vec();
        let Samples { mut items, pixels, .. } = samples;
        let (mut sizes, mut targets) = (Vec::new(), Vec::new());
        for item in &mut items {
            // Outlines are not kept twice.
            let Instances { size, list } =
                instances(&std::mem::replace(&mut item.target, Known::None))?;
            sizes.push((size.height, size.width));
            targets.push(target(&list, size, self.masks)?);
        }
        let images = Tensor::from_vec(pixels, shape, &Device::Cpu)?;
        Ok(Batch { drop_path: self.drop_path(&items)?, images, sizes, targets, items })
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

fn instances(target: &Known) -> Result<Instances, BoxError> {
    match target {
        Known::Instances(instances) => Ok(instances.clone()),
        _ => Err("an image has no annotations".into()),
    }
}

/// The objects of an image of this size.
fn target(list: &[Instance], size: Size, masks: bool) -> Result<Target, BoxError> {
    let mut target = Target::default();
    for one in list {
        let [x, y, width, height] = one.bbox;
        let corners: Corners = [x, y, x + width, y + height].map(|side| side as f32);
        // What is smaller than an f32 tells is nothing to find.
        if !has_inside(corners) {
            continue;
        }
        target.boxes.push(corners);
        target.classes.push(one.category as u32);
        if masks {
            let outline = one.segmentation.as_ref().ok_or("an object has no segmentation")?;
            let pixels = outline.to_mask(size)?.to_bitmap().into();
            target.masks.push(Bitmap { size: (size.height, size.width), pixels });
        }
    }
    Ok(target)
}

/// Endless training batches that can be resumed.
pub fn train_batches(
    source: &Arc<dyn Source>,
    settings: &Settings,
) -> anyhow::Result<RunBatches<Batch>> {
    let of = settings.common.clone();
    let transform = Arc::new(settings.training.clone());
    let collate = Collate {
        masks: settings.architecture.masks(),
        depth: of.encoder.tower.depth,
        drop_path: of.drop_path,
    };
    RunBatches::open(source, &settings.common, move |source, start, known_corrupt| {
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

/// A batch to find objects in.
pub struct EvalBatch {
    /// Which images of the data these are.
    pub indices: Vec<usize>,
    /// `[batch, channels, side, side]`.
    pub images: Tensor,
    /// `(height, width)` of each image without the zeros beside it.
    pub sizes: Vec<(usize, usize)>,
    /// `(height, width)` of each image's file.
    pub files: Vec<(usize, usize)>,
}

/// One pass over this rank's share of the data in its own order. An image that cannot be read ends it: figures without it would
/// be others.
pub fn eval_loader(
    source: &Arc<Coco>,
    transform: &DetectionEval,
    common: &Common,
) -> anyhow::Result<Loader<EvalBatch>> {
    let config = LoaderConfig {
        shuffle: false,
        drop_last: false,
        epochs: Some(1),
        max_corrupt: MaxCorrupt::Count(0),
        ..loader_config(common)
    };
    let (transform, of) = (Arc::new(transform.clone()), transform.clone());
    let collate = move |samples: Samples| -> Result<EvalBatch, BoxError> {
        let shape = samples.shape()?.to_vec();
        let Samples { items, pixels, .. } = samples;
        let (mut sizes, mut files) = (Vec::new(), Vec::new());
        for item in &items {
            let Instances { size, .. } = instances(&item.target)?;
            let content = of.content(size);
            files.push((size.height, size.width));
            sizes.push((content.height, content.width));
        }
        Ok(EvalBatch {
            indices: items.iter().map(|item| item.position as usize).collect(),
            images: Tensor::from_vec(pixels, shape, &Device::Cpu)?,
            sizes,
            files,
        })
    };
    Ok(Loader::new(source.clone(), transform, collate, config)?)
}
