//! Features with classes, as a run's settings read images.

use std::sync::Arc;

use anyhow::Context;
use longmae_data::{CorruptSample, EvalTransform, Source};
use longmae_finetune::probes::Features;
use longmae_vit::Vit;

use super::{Extraction, Pool, extract};
use crate::labels::{Classes, class};
use crate::run::Common;

/// What an encoder makes of all images that can be read, and those that cannot.
pub fn labelled(
    vit: &Vit,
    pool: Pool,
    source: &Arc<dyn Source>,
    classes: &Classes,
    transform: &EvalTransform,
    common: &Common,
    bar: bool,
) -> anyhow::Result<(Features, Vec<CorruptSample>)> {
    let how = Extraction {
        transform: transform.clone(),
        pool,
        batch_size: common.batching.batch_size,
        workers: common.workers,
        max_corrupt: common.max_corrupt,
        bar,
    };
    let found = extract(vit, source, &how)?;
    let labels = found.targets.iter().map(|target| class(target).map(|class| class as u32));
    let labels: Option<Vec<u32>> = labels.collect();
    let labels = labels.context("an image has no class")?;
    Ok((Features::new(found.features, labels, classes.len())?, found.corrupt))
}
