//! Every image of a source through an encoder, once.

use std::sync::Arc;

use anyhow::Context;
use candle_core::{Device, Tensor};
use indicatif::{ProgressBar, ProgressStyle};
use longmae_data::{
    CorruptSample, EvalTransform, Item, Loader, LoaderConfig, MaxCorrupt, Samples, Source, Target,
};
use longmae_ops::inference;
use longmae_vit::{Backbone, Vit};

use super::{EncodeFlags, Encoder};
use crate::choice::one_of;

/// What of an encoder's output, which is after its final norm, stands for an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pool {
    /// The class token, as in MAE's linear probe.
    Class,
    /// The mean of the patches' tokens.
    Mean,
    /// All patches' tokens, without the class token.
    Patches,
}

impl Pool {
    /// A pooling by its name, among those that the command knows.
    pub fn parse(name: &str, known: &[&str]) -> anyhow::Result<Self> {
        one_of("pooling", name, known, &[])?;
        Ok(match name {
            "mean" => Self::Mean,
            "patches" => Self::Patches,
            _ => Self::Class,
        })
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Class => "class",
            Self::Mean => "mean",
            Self::Patches => "patches",
        }
    }

    /// In words.
    pub fn description(self) -> &'static str {
        match self {
            Self::Class => "class tokens",
            Self::Mean => "means of the patches' tokens",
            Self::Patches => "the patches' tokens",
        }
    }

    /// Of tokens `[batch, 1 + patches, dim]`: `[batch, dim]`, or `[batch, patches, dim]`.
    pub fn apply(self, tokens: &Tensor) -> anyhow::Result<Tensor> {
        let patches = || tokens.narrow(1, 1, tokens.dim(1)? - 1);
        Ok(match self {
            Self::Class => tokens.narrow(1, 0, 1)?.squeeze(1)?,
            Self::Mean => patches()?.mean(1)?,
            Self::Patches => patches()?,
        })
    }
}

/// How images are read and encoded.
#[derive(Clone)]
pub struct Extraction {
    pub transform: EvalTransform,
    pub pool: Pool,
    pub batch_size: usize,
    pub workers: usize,
    pub max_corrupt: MaxCorrupt,
    /// Whether a bar is drawn on a terminal.
    pub bar: bool,
}

impl Extraction {
    /// As the flags say.
    pub fn new(encoder: &Encoder, flags: &EncodeFlags, pool: Pool) -> anyhow::Result<Self> {
        Ok(Self {
            transform: encoder.transform(&flags.encoder)?,
            pool,
            batch_size: flags.batch_size,
            workers: flags.workers(),
            max_corrupt: flags.max_corrupt()?,
            bar: true,
        })
    }
}

/// What became of a source's images, in its order.
pub struct Extracted {
    /// `[images, dim]`, or `[images, patches, dim]`, f32.
    pub features: Tensor,
    /// Names of the images.
    pub ids: Vec<String>,
    /// What the source says of each.
    pub targets: Vec<Target>,
    /// What could not be read, and is left out.
    pub corrupt: Vec<CorruptSample>,
}

struct Batch {
    images: Tensor,
    items: Vec<Item>,
}

/// Encodes all images of a source that can be read, each once and in order.
pub fn extract(vit: &Vit, source: &Arc<dyn Source>, how: &Extraction) -> anyhow::Result<Extracted> {
    let mut loader = loader(source, how)?;
    let bar = if how.bar { bar(source.len()) } else { ProgressBar::hidden() };
    let mut values = Vec::new();
    let mut shape = Vec::new();
    let (mut ids, mut targets) = (Vec::new(), Vec::new());
    while let Some(batch) = loader.next_batch().transpose()? {
        let images = batch.images.to_device(vit.device())?;
        let tokens = inference(|| vit.features(&images))?;
        let features = how.pool.apply(&tokens)?;
        shape = features.dims()[1..].to_vec();
        let each = shape.iter().product::<usize>();
        let features = features.flatten_all()?.to_vec1::<f32>()?;
        let room = source.len().saturating_mul(each) - values.len();
        values.try_reserve_exact(room).with_context(|| too_large(source.len(), &shape))?;
        bar.inc(batch.items.len() as u64);
        for (item, features) in batch.items.into_iter().zip(features.chunks_exact(each)) {
            // The loader puts the next good image in the place of one that is corrupt.
            if item.id == source.id(item.position as usize) {
                values.extend_from_slice(features);
                ids.push(item.id);
                targets.push(item.target);
            }
        }
    }
    bar.finish_and_clear();
    shape.insert(0, ids.len());
    let features = Tensor::from_vec(values, shape, &Device::Cpu)?;
    Ok(Extracted { features, ids, targets, corrupt: loader.corrupt().to_vec() })
}

/// One pass in the source's own order.
fn loader(source: &Arc<dyn Source>, how: &Extraction) -> anyhow::Result<Loader<Batch>> {
    let config = LoaderConfig {
        workers: how.workers,
        queue: how.workers + 2,
        batch_size: how.batch_size,
        group: how.batch_size,
        shuffle: false,
        drop_last: false,
        max_corrupt: how.max_corrupt,
        epochs: Some(1),
        ..LoaderConfig::default()
    };
    let collate = |samples: Samples| {
        let shape = samples.shape()?.to_vec();
        let images = Tensor::from_vec(samples.pixels, shape, &Device::Cpu)?;
        Ok(Batch { images, items: samples.items })
    };
    Ok(Loader::new(source.clone(), Arc::new(how.transform.clone()), collate, config)?)
}

fn too_large(images: usize, shape: &[usize]) -> String {
    format!("features of {images} images, {shape:?} each, do not fit into memory")
}

fn bar(images: usize) -> ProgressBar {
    let bar = ProgressBar::new(images as u64);
    let template = "{bar:40} {pos}/{len} images, {per_sec}, {eta} left";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}
