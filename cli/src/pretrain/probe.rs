//! The online probe: what the encoder's features are good for, while it is pre-trained. The loss alone tells little.

use std::collections::BTreeMap;
use std::sync::Arc;

use longmae_data::{EvalTransform, Source, Spec, Subset, split};
use longmae_finetune::metrics::Accuracy;
use longmae_finetune::probes::{Features, LogisticConfig, LogisticRegression, Neighbours, Vote};
use longmae_train::{BoxError, EvalRecord, Every, Hook, Progress};
use longmae_vit::Vit;

use super::settings::Settings;
use super::task::PretrainTask;
use crate::features::{Pool, labelled};
use crate::labels::Classes;
use crate::run::{Common, Sources};

/// The share of the probe's images that it is tested on, where no others are named.
const HELD_OUT: f64 = 0.2;
/// Neighbours and temperature of arXiv 1805.01978.
const NEIGHBOURS: (usize, f64) = (20, 0.07);

/// What is probed on, and when.
#[derive(Debug, Clone, PartialEq)]
pub struct ProbeSettings {
    /// Images with classes, to learn from.
    pub data: Spec,
    /// Others, to be tested on.
    pub val_data: Option<Spec>,
    /// Epochs between probes.
    pub every: u64,
    /// The most images that are taken of each.
    pub images: usize,
}

/// Probes the class token by nearest neighbours and by logistic regression. Every rank does the same.
pub struct Probe {
    train: Arc<dyn Source>,
    test: Arc<dyn Source>,
    classes: Classes,
    transform: EvalTransform,
    common: Common,
    every: u64,
}

impl Probe {
    /// Opens the images, if the settings name any.
    pub fn open(settings: &Settings) -> anyhow::Result<Option<Self>> {
        let Some(probe) = &settings.probe else { return Ok(None) };
        let common = &settings.common;
        let data = Sources::open_one(&probe.data, common)?;
        let classes = Classes::of(data.as_ref(), "the probe's data")?;
        let (train, test): (Arc<dyn Source>, Arc<dyn Source>) = match &probe.val_data {
            Some(spec) => {
                let test = Sources::open_one(spec, common)?;
                (data, classes.align(&test, "the probe's validation data")?)
            }
            None => {
                let (train, test) = split(data, HELD_OUT, common.seed)?;
                (Arc::new(train), Arc::new(test))
            }
        };
        Ok(Some(Self {
            train: spread(train, probe.images)?,
            test: spread(test, probe.images)?,
            classes,
            transform: common.evaluation(&mut None)?,
            common: common.clone(),
            every: probe.every,
        }))
    }

    fn features(&self, vit: &Vit, source: &Arc<dyn Source>) -> anyhow::Result<Features> {
        let (transform, common) = (&self.transform, &self.common);
        let classes = &self.classes;
        Ok(labelled(vit, Pool::Class, source, classes, transform, common, false)?.0)
    }

    /// The shares of test images that neighbours and the linear probe tell rightly.
    fn accuracies(&self, vit: &Vit) -> anyhow::Result<[f64; 2]> {
        let train = self.features(vit, &self.train)?;
        let test = self.features(vit, &self.test)?;
        let (k, temperature) = NEIGHBOURS;
        let neighbours = Neighbours::find(&train, &test, k.min(train.len()))?;
        let votes = neighbours.votes(Vote::Weighted { temperature })?;
        let linear = LogisticRegression::fit(&train, &LogisticConfig::default())?;
        let logits = linear.logits(test.values())?.flatten_all()?.to_vec1::<f32>()?;
        let share = |scores: &[f32]| -> anyhow::Result<f64> {
            let mut accuracy = Accuracy::default();
            accuracy.add(scores, test.classes(), test.labels())?;
            Ok(accuracy.top1())
        };
        Ok([share(&votes)?, share(&logits)?])
    }
}

impl Hook<PretrainTask> for &Probe {
    fn every(&self) -> Every {
        Every::Epochs(self.every)
    }

    fn call(
        &mut self,
        task: &PretrainTask,
        progress: &Progress,
    ) -> Result<Vec<EvalRecord>, BoxError> {
        let [neighbours, linear] = match self.accuracies(task.mae.encoder()) {
            Ok(found) => found,
            // A run is not lost for being looked at.
            Err(error) => {
                tracing::warn!("the probe failed and is left out this time: {error:#}");
                return Ok(Vec::new());
            }
        };
        Ok(vec![EvalRecord {
            kind: "probe",
            step: progress.step,
            epoch: progress.epoch,
            values: BTreeMap::from([("knn_top1", neighbours), ("linear_top1", linear)]),
        }])
    }
}

/// At most `most` samples, spread over all.
fn spread(source: Arc<dyn Source>, most: usize) -> anyhow::Result<Arc<dyn Source>> {
    let len = source.len();
    if len <= most {
        return Ok(source);
    }
    let indices = (0..most).map(|number| number * len / most).collect();
    Ok(Arc::new(Subset::new(source, indices)?))
}
