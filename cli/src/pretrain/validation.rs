//! The validation loss: fixed crops, fixed masks.

use std::collections::BTreeSet;
use std::sync::Arc;

use longmae_data::{Source, Subset};
use longmae_mae::Mae;
use longmae_ops::inference;
use longmae_train::{BestBy, BoxError, Collective, EvalRecord, Every, Hook, Progress, Status};

use super::batch::validation_loader;
use super::task::PretrainTask;
use crate::settings::Settings;

/// The smallest validation loss is the best.
pub const BEST: BestBy = BestBy { kind: "eval", value: "loss", larger: false };

/// The images that the loss is computed on.
pub struct Validation {
    source: Arc<dyn Source>,
    settings: Settings,
    collective: Arc<dyn Collective>,
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
    /// Each rank of `collective` computes its share.
    pub fn new(
        source: Arc<dyn Source>,
        settings: &Settings,
        collective: Arc<dyn Collective>,
    ) -> Self {
        Self { source, settings: settings.clone(), collective }
    }

    /// Mean loss over all images that can be read. Corrupt ones are left out from the pass on that meets them, which is
    /// made again, so that losses of different epochs are over the same images.
    fn loss(&mut self, mae: &Mae) -> anyhow::Result<f64> {
        let own = self.pass(mae);
        let failure = own.as_ref().err().map(|error| format!("{error:#}"));
        let (sum, images, bad_samples) = own.as_ref().ok().cloned().unwrap_or_default();
        let status = Status { failure, bad_samples, sums: vec![sum, images], stop: false };
        let all = status.agree(self.collective.as_ref());
        own?;
        let all = all?;
        if all.bad_samples.is_empty() {
            return Ok(all.sums[0] / all.sums[1]);
        }
        let bad: BTreeSet<String> = all.bad_samples.into_iter().collect();
        let good = (0..self.source.len()).filter(|index| !bad.contains(&self.source.id(*index)));
        self.source = Arc::new(Subset::new(self.source.clone(), good.collect())?);
        self.loss(mae)
    }

    /// The sum of this rank's losses, how many they are, and the names of corrupt samples.
    fn pass(&self, mae: &Mae) -> anyhow::Result<(f64, f64, Vec<String>)> {
        let mut loader = validation_loader(&self.source, &self.settings)?;
        let (mut sum, mut images) = (0.0, 0.0);
        while let Some(batch) = loader.next_batch() {
            let batch = batch?;
            let output = inference(|| mae.forward(&batch.images, &batch.masks, None))?;
            let loss = output.loss.to_scalar::<f32>()?;
            sum += f64::from(loss) * batch.ids.len() as f64;
            images += batch.ids.len() as f64;
        }
        let corrupt = loader.corrupt().iter().map(|sample| sample.id.clone()).collect();
        Ok((sum, images, corrupt))
    }
}
