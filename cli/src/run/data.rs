//! The images of a run: training and validation sources.

use std::sync::Arc;

use longmae_data::{OpenOptions, Part, Source, Spec, split};

use super::settings::{Common, ValidationData};
use crate::download;

/// What is trained and validated on.
pub struct Sources {
    pub train: Arc<dyn Source>,
    pub validation: Option<Arc<dyn Source>>,
}

impl Sources {
    /// Opens what the settings name.
    pub fn open(common: &Common) -> anyhow::Result<Self> {
        let Some(spec) = &common.data else { anyhow::bail!("no training data was given") };
        let train = open(spec, common)?;
        Ok(match &common.validation.data {
            ValidationData::None => Self { train, validation: None },
            ValidationData::Spec(spec) => Self { train, validation: Some(open(spec, common)?) },
            ValidationData::Share(share) => {
                let (train, held_out) = split(train, *share, common.seed)?;
                Self { train: Arc::new(train), validation: Some(Arc::new(held_out)) }
            }
        })
    }

    /// Opens one source, as the settings read images.
    pub fn open_one(spec: &Spec, common: &Common) -> anyhow::Result<Arc<dyn Source>> {
        open(spec, common)
    }

    /// The images that pictures are made of: those held out, if there are any.
    pub fn shown(&self) -> &Arc<dyn Source> {
        self.validation.as_ref().unwrap_or(&self.train)
    }

    /// Optimiser steps of an epoch; the last incomplete one is dropped.
    pub fn steps_per_epoch(&self, common: &Common) -> anyhow::Result<u64> {
        let drawn = self.train.parts().iter().map(Part::draws).fold(0, usize::saturating_add);
        let repeat = common.repeat.saturating_mul(common.aug_repeats);
        let images = drawn.saturating_mul(repeat);
        let effective = common.batching.effective;
        if images < effective {
            anyhow::bail!(
                "an epoch has {images} images ({drawn} x repeat {repeat}), fewer than one step takes (effective batch \
                 {effective}): lower --batch-size or raise --repeat"
            );
        }
        Ok((images / effective) as u64)
    }
}

fn open(spec: &Spec, common: &Common) -> anyhow::Result<Arc<dyn Source>> {
    let options = OpenOptions {
        decode: common.decode,
        synthetic_size: common.size,
        synthetic_len: common.synthetic_images,
        seed: common.seed,
        hub: None,
        progress: Some(download::bar()),
    };
    Ok(spec.open(&options)?)
}
