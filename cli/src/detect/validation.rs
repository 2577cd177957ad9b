//! COCO's figures on the validation data, while the run goes on.

use std::sync::Arc;

use longmae_train::{BestBy, BoxError, Collective, EvalRecord, Every, Hook, Progress};

use super::evaluate::Sought;
use super::figures::Truth;
use super::settings::Settings;
use super::task::DetectTask;

/// The largest average precision of boxes is the best.
pub const BEST: BestBy = BestBy { kind: "eval", value: "box_ap", larger: true };

/// Finds objects every so often; each rank of the collective takes its share.
pub struct Validation<'a> {
    pub sought: &'a Sought,
    pub truth: &'a Truth,
    pub settings: &'a Settings,
    pub collective: Arc<dyn Collective>,
}

impl Hook<DetectTask> for Validation<'_> {
    fn every(&self) -> Every {
        Every::Epochs(self.settings.common.validation.every)
    }

    fn call(
        &mut self,
        task: &DetectTask,
        progress: &Progress,
    ) -> Result<Vec<EvalRecord>, BoxError> {
        let Settings { evaluation, common, .. } = self.settings;
        let found =
            self.sought.all(&task.detector, evaluation, common, self.collective.as_ref())?;
        let values = self.truth.score(&found)?.values().into_iter().collect();
        let kind = if progress.averaged { "eval_ema" } else { BEST.kind };
        Ok(vec![EvalRecord { kind, step: progress.step, epoch: progress.epoch, values }])
    }

    fn wants_average(&self) -> bool {
        true
    }
}
