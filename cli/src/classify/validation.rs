//! Accuracy on the validation data, while the run goes on.

use std::collections::BTreeMap;
use std::sync::Arc;

use longmae_data::{EvalTransform, Source};
use longmae_finetune::metrics::Accuracy;
use longmae_train::{BestBy, BoxError, Collective, EvalRecord, Every, Hook, Progress, Watch};

use super::evaluate::{Scorer, pass};
use crate::labels::Classes;
use crate::run::Common;
use crate::run::evaluation::agreed_sums;

/// The largest accuracy is the best.
pub const BEST: BestBy = BestBy { kind: "eval", value: "top1", larger: true };

/// A task whose model scores images.
pub trait Scores {
    fn scorer(&self) -> &dyn Scorer;
}

/// The images that accuracy is counted on; each rank of the collective takes its share.
struct Validation<'a> {
    source: Arc<dyn Source>,
    transform: &'a EvalTransform,
    common: &'a Common,
    classes: usize,
    collective: Arc<dyn Collective>,
}

/// With validation, where there are images for it.
pub fn validated<'a, T: Scores>(
    watch: Watch<'a, T>,
    images: &Option<Arc<dyn Source>>,
    transform: &'a EvalTransform,
    common: &'a Common,
    classes: &Classes,
    collective: &Arc<dyn Collective>,
) -> Watch<'a, T> {
    let Some(source) = images.clone() else { return watch };
    let (classes, collective) = (classes.len(), collective.clone());
    watch.hook(Validation { source, transform, common, classes, collective })
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
