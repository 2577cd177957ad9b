//! The validation loss: fixed crops, fixed masks.

use std::collections::BTreeSet;
use std::sync::Arc;

use longmae_data::{CorruptSample, Source, Subset};
use longmae_mae::Mae;
use longmae_ops::inference;
use longmae_train::{BestBy, BoxError, EvalRecord, Every, Hook, Progress};

use super::batch::validation_loader;
use super::task::PretrainTask;
use crate::settings::Settings;

/// The smallest validation loss is the best.
pub const BEST: BestBy = BestBy { kind: "eval", value: "loss" };

/// The images that the loss is computed on.
pub struct Validation {
    source: Arc<dyn Source>,
    settings: Settings,
}

impl Hook<PretrainTask> for Validation {
    fn every(&self) -> Every {
        Every::Epochs(self.settings.validation.every)
    }

    fn call(
        &mut self,
        task: &PretrainTask,
        progress: &Progress,
    ) -> Result<Vec<EvalRecord>, BoxError> {
        let loss = self.loss(&task.mae)?;
        let kind = if progress.averaged { "eval_ema" } else { BEST.kind };
        Ok(vec![EvalRecord::new(kind, progress, BEST.value, loss)])
    }

    fn wants_average(&self) -> bool {
        true
    }
}

impl Validation {
    pub fn new(source: Arc<dyn Source>, settings: &Settings) -> Self {
        Self { source, settings: settings.clone() }
    }

    /// Mean loss over all images that can be read. Corrupt ones are left out from the pass on that meets them, which is
    /// made again, so that losses of different epochs are over the same images.
    fn loss(&mut self, mae: &Mae) -> anyhow::Result<f64> {
        let (loss, corrupt) = self.pass(mae)?;
        if corrupt.is_empty() {
            return Ok(loss);
        }
        let bad: BTreeSet<String> = corrupt.into_iter().map(|sample| sample.id).collect();
        let good = (0..self.source.len()).filter(|index| !bad.contains(&self.source.id(*index)));
        self.source = Arc::new(Subset::new(self.source.clone(), good.collect())?);
        self.loss(mae)
    }

    fn pass(&self, mae: &Mae) -> anyhow::Result<(f64, Vec<CorruptSample>)> {
        let mut loader = validation_loader(&self.source, &self.settings)?;
        let (mut sum, mut images) = (0.0, 0);
        while let Some(batch) = loader.next_batch() {
            let batch = batch?;
            let output = inference(|| mae.forward(&batch.images, &batch.masks, None))?;
            let loss = output.loss.to_scalar::<f32>()?;
            sum += f64::from(loss) * batch.ids.len() as f64;
            images += batch.ids.len();
        }
        Ok((sum / images as f64, loader.corrupt().to_vec()))
    }
}
