//! A classifier as something to optimise.

use std::path::Path;

use longmae_finetune::{Classifier, Pool, soft_cross_entropy};
use longmae_ops::Params;
use longmae_train::{BoxError, ModelWriter, NamedParam, StepContext, StepOutput, Task};
use longmae_weights::{Checkpoint, ClassifierInfo, Kind, Metadata, ModelInfo, save};

use super::batch::Batch;
use super::evaluate::Scorer;
use super::settings::{Settings, tuned};
use super::validation::Scores;
use crate::labels::Classes;
use crate::recipe;
use crate::run::RunSettings;
use crate::run::flags::DataFlags;
use crate::run::weights::{encoder_info, vars};

/// A model with what its files say of it.
pub struct ClassifyTask {
    pub classifier: Classifier,
    params: Params,
    tuned: Vec<NamedParam>,
    metadata: Metadata,
    steps_per_epoch: u64,
}

impl ClassifyTask {
    pub fn new(
        classifier: Classifier,
        params: Params,
        settings: &Settings,
        classes: &Classes,
        steps_per_epoch: u64,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            tuned: tuned(settings, classifier.backbone(), &params)?,
            metadata: metadata(settings, &settings.flags.data, settings.pool, classes)?,
            classifier,
            params,
            steps_per_epoch,
        })
    }

    /// Writes the classifier, after `step` steps at this loss.
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

/// What the files of a classifier or probe say of it, before its first step.
pub fn metadata<S: RunSettings>(
    settings: &S,
    images: &DataFlags,
    pool: Pool,
    classes: &Classes,
) -> anyhow::Result<Metadata> {
    let mut recipe = recipe::to_table(settings.flags())?;
    // What a machine chose for itself is no part of what was computed.
    ["device", "workers", "threads"].iter().for_each(|key| drop(recipe.remove(*key)));
    let head = ClassifierInfo {
        pool: pool.to_string(),
        classes: classes.names.clone(),
        named: classes.are_named(),
    };
    let info = encoder_info(&settings.common().encoder, images);
    let info = ModelInfo { classifier: Some(head), ..info };
    Ok(Metadata { kind: Kind::Classifier, info, recipe: Some(recipe.to_string()) })
}

impl Scores for ClassifyTask {
    fn scorer(&self) -> &dyn Scorer {
        &self.classifier
    }
}

impl Task for ClassifyTask {
    type Batch = Batch;

    fn loss(&self, batch: &Batch, _context: &StepContext) -> Result<StepOutput, BoxError> {
        let device = self.classifier.backbone().device();
        let (images, targets) = (batch.images.to_device(device)?, batch.targets.to_device(device)?);
        let logits = self.classifier.forward(&images, batch.drop_path.as_ref())?;
        let loss = soft_cross_entropy(&logits, &targets)?;
        Ok(StepOutput { loss, samples: batch.ids.len() })
    }

    fn parameters(&self) -> Vec<NamedParam> {
        self.tuned.clone()
    }

    fn sample_ids(&self, batch: &Batch) -> Vec<String> {
        batch.ids.clone()
    }

    fn model_writer(&self, step: u64, loss: Option<f64>) -> Result<ModelWriter, BoxError> {
        Ok(self.writer(step, loss))
    }

    fn load_model(&self, path: &Path) -> Result<(), BoxError> {
        Checkpoint::open(path)?.load_into(&vars(&self.params.all()))?;
        Ok(())
    }
}
