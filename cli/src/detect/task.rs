//! A detector as something to optimise.

use std::path::Path;

use longmae_data::rng::Purpose;
use longmae_finetune::detect::Detector;
use longmae_ops::Params;
use longmae_train::{BoxError, ModelWriter, NamedParam, StepContext, StepOutput, Task};
use longmae_weights::{Checkpoint, DetectorInfo, Kind, Metadata, ModelInfo, save};

use super::batch::Batch;
use super::categories::Categories;
use super::settings::Settings;
use crate::recipe;
use crate::run::weights::{encoder_info, vars};

/// A model with what its files say of it.
pub struct DetectTask {
    pub detector: Detector,
    params: Params,
    tuned: Vec<NamedParam>,
    metadata: Metadata,
    steps_per_epoch: u64,
}

impl DetectTask {
    pub fn new(
        detector: Detector,
        params: Params,
        settings: &Settings,
        categories: &Categories,
        steps_per_epoch: u64,
    ) -> anyhow::Result<Self> {
        let tuned = detector.tuned(&params.all(), settings.layer_decay)?;
        let tuned = tuned.into_iter().map(|param| NamedParam {
            name: param.name,
            var: param.var,
            lr_scale: param.lr_scale,
            decay: param.decay,
        });
        Ok(Self {
            tuned: tuned.collect(),
            metadata: metadata(settings, categories)?,
            detector,
            params,
            steps_per_epoch,
        })
    }

    /// Writes the detector, after `step` steps at this loss.
    pub fn save(&self, path: &Path, step: u64, loss: Option<f64>) -> anyhow::Result<()> {
        self.writer(step, loss)(path).map_err(anyhow::Error::from_boxed)
    }

    /// What writes the model from the live weights.
    fn writer(&self, steps: u64, loss: Option<f64>) -> ModelWriter {
        let mut metadata = self.metadata.clone();
        metadata.info.steps = steps;
        metadata.info.epochs = Some(steps as f64 / self.steps_per_epoch as f64);
        metadata.info.loss = loss;
        let live = vars(&self.params.all()).into_iter();
        let tensors: Vec<_> = live.map(|(name, var)| (name, var.as_detached_tensor())).collect();
        Box::new(move |path| Ok(save(path, &metadata, &tensors)?))
    }
}

/// What the files of a detector say of it, before its first step. Image and grid are those that the positions are of.
fn metadata(settings: &Settings, categories: &Categories) -> anyhow::Result<Metadata> {
    let mut recipe = recipe::to_table(&settings.flags)?;
    // What a machine chose for itself is no part of what was computed.
    ["device", "workers", "threads"].iter().for_each(|key| drop(recipe.remove(*key)));
    let detector =
        DetectorInfo { categories: categories.0.clone(), image_size: settings.common.size.height };
    let info = encoder_info(&settings.architecture.pretrained(), &settings.flags.data);
    let info = ModelInfo { detector: Some(detector), ..info };
    Ok(Metadata { kind: Kind::Detector, info, recipe: Some(recipe.to_string()) })
}

impl Task for DetectTask {
    type Batch = Batch;

    fn loss(&self, batch: &Batch, _context: &StepContext) -> Result<StepOutput, BoxError> {
        let Batch { items, images, sizes, targets, drop_path } = batch;
        let first = items.first().ok_or("a batch has no images")?;
        let mut rng = first.rng(Purpose::Regions);
        let images = images.to_device(self.detector.backbone().device())?;
        let losses = self.detector.losses(&images, sizes, targets, drop_path.as_ref(), &mut rng)?;
        Ok(StepOutput { loss: losses.total()?, samples: items.len() })
    }

    fn parameters(&self) -> Vec<NamedParam> {
        self.tuned.clone()
    }

    fn sample_ids(&self, batch: &Batch) -> Vec<String> {
        batch.items.iter().map(|item| item.id.clone()).collect()
    }

    fn model_writer(&self, step: u64, loss: Option<f64>) -> Result<ModelWriter, BoxError> {
        Ok(self.writer(step, loss))
    }

    fn load_model(&self, path: &Path) -> Result<(), BoxError> {
        Checkpoint::open(path)?.under_own_names().load_into(&vars(&self.params.all()))?;
        Ok(())
    }
}
