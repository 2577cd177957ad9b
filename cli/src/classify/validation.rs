//! Accuracy on the validation data, while the run goes on.

use std::collections::BTreeMap;
use std::sync::Arc;

use longmae_data::{EvalTransform, Source};
use longmae_finetune::metrics::Accuracy;
use longmae_train::{BestBy, BoxError, Collective, EvalRecord, Every, Hook, Progress};

use super::evaluate::{Scorer, pass};
use crate::run::Common;
use crate::run::evaluation::agreed_sums;

/// The largest accuracy is the best.
pub const BEST: BestBy = BestBy { kind: "eval", value: "top1", larger: true };

/// A task whose model scores images.
pub trait Scores {
    fn scorer(&self) -> &dyn Scorer;
}

/// The images that accuracy is counted on; each rank of the collective takes its share.
pub struct Validation<'a> {
    source: Arc<dyn Source>,
    transform: &'a EvalTransform,
    common: &'a Common,
    classes: usize,
    collective: Arc<dyn Collective>,
}

impl<'a> Validation<'a> {
    pub fn new(
        source: Arc<dyn Source>,
        transform: &'a EvalTransform,
        common: &'a Common,
        classes: usize,
        collective: Arc<dyn Collective>,
    ) -> Self {
        Self { source, transform, common, classes, collective }
    }
}

impl<T: Scores> Hook<T> for Validation<'_> {
    fn every(&self) -> Every {
        Every::Epochs(self.common.validation.every)
    }

    fn call(&mut self, task: &T, progress: &Progress) -> Result<Vec<EvalRecord>, BoxError> {
        let Self { transform, common, classes, .. } = *self;
        let pass =
            |source: &Arc<dyn Source>| pass(task.scorer(), source, transform, common, classes);
        let sums = agreed_sums(&mut self.source, self.collective.as_ref(), pass, 4)?;
        let accuracy = Accuracy::from_sums([sums[0], sums[1], sums[2]]);
        let kind = if progress.averaged { "eval_ema" } else { BEST.kind };
        Ok(vec![EvalRecord {
            kind,
            step: progress.step,
            epoch: progress.epoch,
            values: BTreeMap::from([
                ("top1", accuracy.top1()),
                ("top5", accuracy.top5()),
                ("loss", sums[3] / sums[2].max(1.0)),
            ]),
        }])
    }

    fn wants_average(&self) -> bool {
        true
    }
}
