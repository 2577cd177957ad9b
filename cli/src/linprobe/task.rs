//! A linear probe as something to optimise.

use std::path::Path;

use candle_core::Tensor;
use longmae_finetune::probes::Mode;
use longmae_finetune::soft_cross_entropy;
use longmae_train::{BoxError, ModelWriter, NamedParam, StepContext, StepOutput, Task};
use longmae_weights::{Checkpoint, Metadata, save};

use super::model::Probed;
use super::settings::Settings;
use crate::classify::{self, Batch, Scorer, Scores};
use crate::labels::Classes;
use crate::run::weights::vars;

/// A probe with what its files say of it.
pub struct ProbeTask {
    pub model: Probed,
    metadata: Metadata,
    steps_per_epoch: u64,
}

impl ProbeTask {
    pub fn new(
        model: Probed,
        settings: &Settings,
        classes: &Classes,
        steps_per_epoch: u64,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            metadata: classify::metadata(settings, &settings.flags.data, settings.pool, classes)?,
            model,
            steps_per_epoch,
        })
    }

    /// Writes encoder and probe, after `step` steps at this loss.
    pub fn save(&self, path: &Path, step: u64, loss: Option<f64>) -> anyhow::Result<()> {
        self.writer(step, loss)?(path).map_err(anyhow::Error::from_boxed)
    }

    fn writer(&self, steps: u64, loss: Option<f64>) -> anyhow::Result<ModelWriter> {
        let mut metadata = self.metadata.clone();
        metadata.info.steps = steps;
        metadata.info.epochs = Some(steps as f64 / self.steps_per_epoch as f64);
        metadata.info.loss = loss;
        let tensors = self.tensors()?;
        Ok(Box::new(move |path| Ok(save(path, &metadata, &tensors)?)))
    }

    /// All tensors as they are now. Running statistics change in the forward pass, in which the file is still being written:
    /// of these, copies.
    fn tensors(&self) -> anyhow::Result<Vec<(String, Tensor)>> {
        let named = vars(&self.model.params.all()).into_iter();
        named
            .map(|(name, var)| {
                let live = var.as_detached_tensor();
                let tensor = if name.starts_with("head.0.") { live.copy()? } else { live };
                Ok((name, tensor))
            })
            .collect()
    }
}

impl Scores for ProbeTask {
    fn scorer(&self) -> &dyn Scorer {
        &self.model
    }
}

impl Task for ProbeTask {
    type Batch = Batch;

    fn loss(&self, batch: &Batch, _context: &StepContext) -> Result<StepOutput, BoxError> {
        let logits = self.model.forward(&batch.images, Mode::Train)?;
        let targets = batch.targets.to_device(logits.device())?;
        let loss = soft_cross_entropy(&logits, &targets)?;
        Ok(StepOutput { loss, samples: batch.ids.len() })
    }

    fn parameters(&self) -> Vec<NamedParam> {
        let trainable = self.model.params.trainable();
        trainable
            .iter()
            .filter(|param| param.name.starts_with("head."))
            .map(NamedParam::new)
            .collect()
    }

    fn sample_ids(&self, batch: &Batch) -> Vec<String> {
        batch.ids.clone()
    }

    fn model_writer(&self, step: u64, loss: Option<f64>) -> Result<ModelWriter, BoxError> {
        Ok(self.writer(step, loss)?)
    }

    fn load_model(&self, path: &Path) -> Result<(), BoxError> {
        Checkpoint::open(path)?.load_into(&vars(&self.model.params.all()))?;
        Ok(())
    }
}
