//! Endless training batches that can be resumed.

use std::sync::Arc;

use longmae_data::{CorruptSample, Loader, LoaderConfig, LoaderState, Source};
use longmae_train::{Batches, BoxError, Stateful};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::Common;

/// Starts a loader at a place, with the corrupt samples met before.
type Open<B> =
    Box<dyn Fn(&Arc<dyn Source>, LoaderState, Vec<CorruptSample>) -> anyhow::Result<Loader<B>>>;

/// Batches of a run.
pub struct RunBatches<B> {
    source: Arc<dyn Source>,
    digest: String,
    accum_iter: u64,
    open: Open<B>,
    loader: Loader<B>,
    /// The first batch, made ahead to show that data can be read; not yet counted in the state.
    first: Option<(B, LoaderState)>,
}

impl<B: Send + 'static> RunBatches<B> {
    /// Starts loading and waits for the first batch. `open` makes the loader.
    pub fn open(
        source: &Arc<dyn Source>,
        common: &Common,
        open: impl Fn(&Arc<dyn Source>, LoaderState, Vec<CorruptSample>) -> anyhow::Result<Loader<B>>
        + 'static,
    ) -> anyhow::Result<Self> {
        let source = source.clone();
        let digest = digest(source.as_ref());
        let mut loader = open(&source, LoaderState::seeded(common.seed), Vec::new())?;
        let state = loader.state();
        let first = loader.next_batch().transpose()?.map(|batch| (batch, state));
        let accum_iter = common.batching.accum_iter as u64;
        Ok(Self { source, digest, accum_iter, open: Box::new(open), loader, first })
    }

    /// Corrupt samples of the first batch, which was made before the run had a log.
    pub fn early_corrupt(&self) -> &[CorruptSample] {
        if self.first.is_some() { self.loader.corrupt() } else { &[] }
    }

    /// Corrupt samples met so far, in earlier sessions too.
    pub fn corrupt(&self) -> &[CorruptSample] {
        self.loader.corrupt()
    }

    fn steps_per_epoch(&self) -> u64 {
        self.loader.batches_per_epoch() / self.accum_iter
    }
}

impl<B: Send + 'static> Stateful for RunBatches<B> {
    fn name(&self) -> &'static str {
        "loader"
    }

    fn save(&self) -> serde_json::Value {
        let state = self.first.as_ref().map_or_else(|| self.loader.state(), |(_, state)| *state);
        serde_json::json!({
            "seed": state.seed,
            "epoch": state.epoch,
            "position": state.position,
            "images": self.source.len(),
            "digest": self.digest,
            "steps_per_epoch": self.steps_per_epoch(),
            "corrupt": self.loader.corrupt(),
        })
    }

    fn restore(&mut self, state: &serde_json::Value) -> Result<(), BoxError> {
        if state.is_null() {
            return Err("the checkpoint holds no loader state".into());
        }
        let (images, digest) = (state["images"].as_u64(), state["digest"].as_str());
        if images != Some(self.source.len() as u64) || digest != Some(&self.digest) {
            let (then, now) = (images.unwrap_or_default(), self.source.len());
            return Err(format!(
                "the data is not what the run was begun with: {then} images then, {now} now, or other names"
            )
            .into());
        }
        let number =
            |key: &str| state[key].as_u64().ok_or_else(|| format!("its loader state has no {key}"));
        let (then, now) = (state["steps_per_epoch"].as_u64(), self.steps_per_epoch());
        if let Some(then) = then.filter(|then| *then != now) {
            return Err(format!(
                "an epoch of the data had {then} steps when the run was begun, and has {now} now: the weights of its \
                 parts are not what they were"
            )
            .into());
        }
        let start = LoaderState {
            seed: number("seed")?,
            epoch: number("epoch")?,
            position: number("position")?,
        };
        // Null in checkpoints of before they were kept.
        let corrupt = Option::<Vec<CorruptSample>>::deserialize(&state["corrupt"])?;
        self.first = None;
        self.loader = (self.open)(&self.source, start, corrupt.unwrap_or_default())?;
        Ok(())
    }
}

impl<B: Send + 'static> Batches for RunBatches<B> {
    type Batch = B;

    fn next_batch(&mut self) -> Result<Option<B>, BoxError> {
        if let Some((batch, _)) = self.first.take() {
            return Ok(Some(batch));
        }
        Ok(self.loader.next_batch().transpose()?)
    }
}

/// A hash of the names of all samples, in order.
fn digest(source: &dyn Source) -> String {
    let mut hasher = Sha256::new();
    for index in 0..source.len() {
        hasher.update(source.id(index));
        hasher.update([0]);
    }
    hasher.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// What the loaders of a run share; by default one shuffles, drops the last group and never ends.
pub fn loader_config(common: &Common) -> LoaderConfig {
    LoaderConfig {
        start: LoaderState::seeded(common.seed),
        workers: common.workers,
        queue: common.workers + 2,
        batch_size: common.batching.batch_size,
        group: common.batching.batch_size * common.batching.ranks,
        rank: common.rank,
        world: common.batching.ranks,
        max_corrupt: common.max_corrupt,
        ..LoaderConfig::default()
    }
}
