//! What a worker thread does.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_channel::{Receiver, Sender};

use super::config::LoaderState;
use super::corrupt::{CorruptSample, examples};
use super::plan::Job;
use super::samples::{Item, Samples};
use crate::error::{Error, Result};
use crate::rng::{Purpose, stream};
use crate::source::{Sample, Source};
use crate::transform::Transform;

type Collate<B> =
    dyn Fn(Samples) -> Result<B, Box<dyn std::error::Error + Send + Sync>> + Send + Sync;

/// A batch, or why there is none, with the corrupt samples met on the way.
pub(super) struct Built<B> {
    pub batch: Result<B>,
    pub corrupt: Vec<CorruptSample>,
    pub next: LoaderState,
}

/// What all workers share.
pub(super) struct Worker<B> {
    pub source: Arc<dyn Source>,
    pub transform: Arc<dyn Transform>,
    pub collate: Arc<Collate<B>>,
    pub corrupt_limit: usize,
    pub stop: Arc<AtomicBool>,
}

// Not derived: that would ask for `B: Clone`.
impl<B> Clone for Worker<B> {
    fn clone(&self) -> Self {
        Self {
            source: Arc::clone(&self.source),
            transform: Arc::clone(&self.transform),
            collate: Arc::clone(&self.collate),
            corrupt_limit: self.corrupt_limit,
            stop: Arc::clone(&self.stop),
        }
    }
}

impl<B> Worker<B> {
    /// Makes batches until there are no more jobs, or nobody wants what is made.
    pub fn run(&self, jobs: &Receiver<(u64, Job)>, done: &Sender<(u64, Built<B>)>) {
        for (number, job) in jobs {
            let mut corrupt = Vec::new();
            let batch = catch_unwind(AssertUnwindSafe(|| self.build(&job, &mut corrupt)))
                .unwrap_or_else(|payload| Some(Err(Error::WorkerPanic(message(payload.as_ref())))));
            let Some(batch) = batch else { return };
            if done.send((number, Built { batch, corrupt, next: job.next })).is_err() {
                return;
            }
        }
    }

    /// The batch of a job, or `None` when told to stop.
    fn build(&self, job: &Job, corrupt: &mut Vec<CorruptSample>) -> Option<Result<B>> {
        let mut samples = Samples::for_count(job.positions.len());
        let mut last = None;
        for position in job.positions.clone() {
            if let Err(e) = self.add(job, position, &mut samples, &mut last, corrupt)? {
                return Some(Err(e));
            }
        }
        Some((self.collate)(samples).map_err(Error::Collate))
    }

    /// Adds the sample at a place of the epoch's order or, while it is corrupt, at the places after it, round to the start.
    /// `None` when told to stop. `last` is the sample read before, which may be wanted once more.
    fn add(
        &self,
        job: &Job,
        position: usize,
        samples: &mut Samples,
        last: &mut Option<(usize, Sample)>,
        corrupt: &mut Vec<CorruptSample>,
    ) -> Option<Result<()>> {
        for &index in job.order[position..].iter().chain(&job.order[..position]) {
            if self.stop.load(Ordering::Relaxed) {
                return None;
            }
            let reason = match self.try_add(job, position as u64, index, samples, last) {
                Ok(()) => return Some(Ok(())),
                Err(e) if e.is_of_machine() => return Some(Err(e)),
                Err(Error::Sample { reason, .. }) => reason.to_string(),
                Err(e) => e.to_string(),
            };
            let id = self.source.id(index);
            if corrupt.iter().all(|known| known.id != id) {
                corrupt.push(CorruptSample { id, reason });
            }
            if corrupt.len() > self.corrupt_limit {
                // Too many in this one batch already: reading on could take hours, and the run ends anyway.
                break;
            }
        }
        Some(Err(Error::AllCorrupt { examples: examples(corrupt) }))
    }

    fn try_add(
        &self,
        job: &Job,
        position: u64,
        index: usize,
        samples: &mut Samples,
        last: &mut Option<(usize, Sample)>,
    ) -> Result<()> {
        let (_, sample) = match last.take_if(|(known, _)| *known == index) {
            Some(again) => last.insert(again),
            None => last.insert((index, self.source.get(index)?)),
        };
        let (seed, epoch) = (job.seed, job.epoch);
        let mut rng = stream(seed, epoch, position, Purpose::Crop);
        let (id, target) = (sample.id.clone(), sample.target.clone());
        samples.add(|pixels| {
            let (shape, target) =
                self.transform.append_with(&sample.picture, target, &mut rng, pixels)?;
            Ok(Item { id, shape, target, seed, epoch, position })
        })
    }
}

/// What a panic says.
fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
        .to_owned()
}
