//! The masked autoencoder as something to optimise.

use std::path::Path;

use candle_core::Var;
use longmae_mae::Mae;
use longmae_ops::Params;
use longmae_train::{BoxError, ModelWriter, NamedParam, StepContext, StepOutput, Task};
use longmae_weights::{Checkpoint, Kind, is_encoder, save};

use super::batch::Batch;
use super::info;
use super::settings::Settings;
use crate::run::weights::vars;

/// A model with what its files say of it.
pub struct PretrainTask {
    pub mae: Mae,
    params: Params,
    settings: Settings,
    steps_per_epoch: u64,
}

impl PretrainTask {
    pub fn new(mae: Mae, params: Params, settings: &Settings, steps_per_epoch: u64) -> Self {
        Self { mae, params, settings: settings.clone(), steps_per_epoch }
    }

    /// Writes the encoder alone, for other tasks and other programs.
    pub fn save_encoder(&self, path: &Path, step: u64, loss: Option<f64>) -> anyhow::Result<()> {
        self.writer(Kind::Encoder, step, loss)?(path).map_err(anyhow::Error::from_boxed)
    }

    /// What writes the model, or its encoder, from the live weights.
    fn writer(&self, kind: Kind, step: u64, loss: Option<f64>) -> anyhow::Result<ModelWriter> {
        let epochs = step as f64 / self.steps_per_epoch as f64;
        let metadata = info::metadata(&self.settings, kind, step, epochs, loss)?;
        let tensors: Vec<_> = self
            .vars()
            .into_iter()
            .filter(|(name, _)| kind == Kind::Full || is_encoder(name))
            .map(|(name, var)| (name, var.as_detached_tensor()))
            .collect();
        Ok(Box::new(move |path| Ok(save(path, &metadata, &tensors)?)))
    }

    fn vars(&self) -> Vec<(String, Var)> {
        vars(&self.params.all())
    }
}

impl Task for PretrainTask {
    type Batch = Batch;

    fn loss(&self, batch: &Batch, _context: &StepContext) -> Result<StepOutput, BoxError> {
        let (images, masks) = batch.on(self.mae.device())?;
        let output = self.mae.forward(&images, &masks, batch.drop_path.as_ref())?;
        Ok(StepOutput { loss: output.loss, samples: batch.ids.len() })
    }

    fn parameters(&self) -> Vec<NamedParam> {
        // timm's rule for weight decay, as the published code: class and mask token, of three dimensions, decay.
        self.params.trainable().iter().map(NamedParam::new).collect()
    }

    fn sample_ids(&self, batch: &Batch) -> Vec<String> {
        batch.ids.clone()
    }

    fn model_writer(&self, step: u64, loss: Option<f64>) -> Result<ModelWriter, BoxError> {
        Ok(self.writer(Kind::Full, step, loss)?)
    }

    fn load_model(&self, path: &Path) -> Result<(), BoxError> {
        Checkpoint::open(path)?.load_into(&self.vars())?;
        Ok(())
    }
}
