//! The validation loss: fixed crops, fixed masks.

use std::sync::Arc;

use longmae_data::Source;
use longmae_mae::Mae;
use longmae_ops::inference;
use longmae_train::{BestBy, BoxError, Collective, EvalRecord, Every, Hook, Progress};

use super::batch::validation_loader;
use super::settings::Settings;
use super::task::PretrainTask;
use crate::run::evaluation::{Pass, agreed_sums};

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
        Every::Epochs(self.settings.common.validation.every)
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

    /// Mean loss over all images that can be read.
    fn loss(&mut self, mae: &Mae) -> anyhow::Result<f64> {
        let settings = &self.settings;
        let pass = |source: &Arc<dyn Source>| pass(source, settings, mae);
        let sums = agreed_sums(&mut self.source, self.collective.as_ref(), pass, 2)?;
        Ok(sums[0] / sums[1])
    }
}

/// The sum of this rank's losses, and how many they are.
fn pass(source: &Arc<dyn Source>, settings: &Settings, mae: &Mae) -> anyhow::Result<Pass> {
    let mut loader = validation_loader(source, settings)?;
    let (mut sum, mut images) = (0.0, 0.0);
    while let Some(batch) = loader.next_batch() {
        let batch = batch?;
        let (seen, masks) = batch.on(mae.device())?;
        let output = inference(|| mae.forward(&seen, &masks, None))?;
        let loss = output.loss.to_scalar::<f32>()?;
        sum += f64::from(loss) * batch.ids.len() as f64;
        images += batch.ids.len() as f64;
    }
    let corrupt = loader.corrupt().iter().map(|sample| sample.id.clone()).collect();
    Ok(Pass { sums: vec![sum, images], corrupt })
}
