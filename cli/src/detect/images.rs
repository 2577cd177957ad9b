//! The images of a detector's run: with their objects, in COCO's format.

use std::sync::Arc;

use anyhow::{Context, bail};
use longmae_data::{Coco, Instance, Segmentation, Source, Spec, Subset, Target};

use super::categories::Categories;
use super::settings::Settings;
use crate::run::{Common, Sources, ValidationData};

/// What is trained and validated on.
pub struct Images {
    pub train: Arc<dyn Source>,
    pub validation: Option<Arc<Coco>>,
    pub categories: Categories,
}

impl Images {
    /// Opens what the settings name.
    pub fn open(settings: &Settings) -> anyhow::Result<Self> {
        let common = &settings.common;
        let Some(spec) = &common.data else { bail!("no training data was given") };
        let train = open(spec, common)?;
        let what = "the training data";
        let categories = Categories::of(&train, what)?;
        let validation = match &common.validation.data {
            ValidationData::Spec(spec) => Some(Arc::new(open(spec, common)?)),
            ValidationData::None | ValidationData::Share(_) => None,
        };
        let masks = settings.architecture.masks();
        let train = learnable(train, masks, settings.keep_empty).context(what)?;
        Ok(Self { train, validation, categories })
    }

    /// As all kinds of runs have them.
    pub fn sources(&self) -> Sources {
        let validation = self.validation.clone();
        let validation = validation.map(|coco| coco as Arc<dyn Source>);
        Sources { train: self.train.clone(), validation }
    }
}

/// Opens images with their annotations.
pub fn open(spec: &Spec, common: &Common) -> anyhow::Result<Coco> {
    Ok(spec.open_coco(common.decode)?)
}

/// The images that can be learned from: those with an object that is no crowd, as detectron2 chooses them, unless all are
/// kept. With masks, every object needs an outline.
fn learnable(coco: Coco, masks: bool, keep_empty: bool) -> anyhow::Result<Arc<dyn Source>> {
    let mut kept = Vec::new();
    for index in 0..coco.len() {
        let Target::Instances(instances) = coco.target(index)? else {
            bail!("{} has no annotations (only a list of images has it)", coco.id(index));
        };
        let objects = || instances.list.iter().filter(|one| !one.crowd);
        if let Some(one) = objects().find(|one| masks && one.segmentation.is_none()) {
            bail!(
                "annotation {} of {} has no segmentation: --masks false trains a detector of boxes alone",
                one.id,
                coco.id(index)
            );
        }
        if keep_empty || objects().any(has_outline) {
            kept.push(index);
        }
    }
    if kept.is_empty() {
        bail!("none of its {} images has an object", coco.len());
    }
    Ok(Arc::new(Subset::new(Arc::new(coco), kept)?))
}

/// Whether something of an object's outline encloses anything: polygons need three corners.
fn has_outline(one: &Instance) -> bool {
    match &one.segmentation {
        Some(Segmentation::Polygons(polygons)) => polygons.iter().any(|xy| xy.len() >= 6),
        Some(Segmentation::Mask(_)) | None => true,
    }
}
