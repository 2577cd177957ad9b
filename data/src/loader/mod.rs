//! Batches, made ahead by worker threads and given out in order.
//!
//! The loader hands out numbered jobs, one a batch; idle workers take them, and what they make is put in order again
//! before it is given out. At most `queue` batches are on their way at any time, which bounds the memory. What a batch
//! holds depends on its number and the seed alone, so the number of workers changes nothing but the speed.

mod config;
mod corrupt;
mod order;
mod plan;
mod samples;
mod worker;

pub use config::{LoaderConfig, LoaderState, MaxCorrupt};
pub use corrupt::CorruptSample;
pub use samples::{Item, Samples};

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, unbounded};

use crate::error::{Error, Result};
use crate::source::{Part, Source};
use crate::transform::Transform;
use corrupt::CorruptLog;
use plan::{Job, Plan};
use worker::{Built, Worker};

/// Gives out batches of type `B`, epoch after epoch.
///
/// Iterating over it gives the batches. After an error it has ended.
pub struct Loader<B> {
    plan: Plan,
    /// Emptied to tell the workers that no more is to come.
    jobs: Option<Sender<(u64, Job)>>,
    built: Receiver<(u64, Built<B>)>,
    /// Built before their turn.
    early: BTreeMap<u64, Built<B>>,
    issued: u64,
    delivered: u64,
    queue: u64,
    state: LoaderState,
    corrupt: CorruptLog,
    stop: Arc<AtomicBool>,
    workers: Vec<JoinHandle<()>>,
}

impl<B: Send + 'static> Loader<B> {
    /// Starts the workers, which begin with the first batches at once.
    ///
    /// `transform` makes each picture a model's input, with the generator of the sample's place; `collate` then makes a
    /// batch of `batch_size` items (fewer at an epoch's end without `drop_last`) on the same thread.
    ///
    /// # Errors
    /// [`Error::Setting`] for settings that cannot be, [`Error::TooFewSamples`] if an epoch would have no batch,
    /// [`Error::Spawn`] if the system refuses a thread.
    pub fn new<C>(
        source: Arc<dyn Source>,
        transform: Arc<dyn Transform>,
        collate: C,
        config: LoaderConfig,
    ) -> Result<Self>
    where
        C: Fn(Samples) -> Result<B, Box<dyn std::error::Error + Send + Sync>>
            + Send
            + Sync
            + 'static,
    {
        // Weights are a matter of training: in the source's own order, every sample is seen once.
        let parts = match config.shuffle {
            true => source.parts(),
            false => vec![Part::random_access(source.len())],
        };
        let plan = Plan::new(&config, parts)?;
        let batch = config.batch_size.saturating_mul(config.world);
        source.expect(batch.saturating_mul(config.queue));
        let (jobs, todo) = unbounded();
        let (done, built) = unbounded();
        let stop = Arc::new(AtomicBool::new(false));
        let corrupt_limit = config.max_corrupt.limit(source.len());
        let worker = Worker {
            source,
            transform,
            collate: Arc::new(collate),
            corrupt_limit,
            stop: Arc::clone(&stop),
        };
        let mut loader = Self {
            state: plan.state(),
            plan,
            jobs: Some(jobs),
            built,
            early: BTreeMap::new(),
            issued: 0,
            delivered: 0,
            queue: config.queue as u64,
            corrupt: CorruptLog::new(corrupt_limit, config.known_corrupt),
            stop,
            workers: Vec::new(),
        };
        for number in 0..config.workers {
            let (worker, todo, done) = (worker.clone(), todo.clone(), done.clone());
            let thread = std::thread::Builder::new().name(format!("data-{number}"));
            let handle = thread.spawn(move || worker.run(&todo, &done)).map_err(Error::Spawn)?;
            loader.workers.push(handle);
        }
        loader.issue();
        Ok(loader)
    }

    /// The next batch, `None` after the last epoch or an error. Waits for it if it is not ready.
    pub fn next_batch(&mut self) -> Option<Result<B>> {
        let built = match self.wait_for_next()? {
            Ok(built) => built,
            Err(e) => return Some(Err(self.end(e))),
        };
        self.delivered += 1;
        self.state = built.next;
        self.issue();
        let batch = self.corrupt.record(built.corrupt).and(built.batch);
        Some(batch.map_err(|e| self.end(e)))
    }

    /// Where the next batch stands: a loader started there goes on with it.
    pub fn state(&self) -> LoaderState {
        self.state
    }

    /// Batches in every epoch.
    pub fn batches_per_epoch(&self) -> u64 {
        self.plan.batches_per_epoch()
    }

    /// The corrupt samples met so far, each once, in the order in which they were met.
    pub fn corrupt(&self) -> &[CorruptSample] {
        self.corrupt.samples()
    }

    /// Hands out jobs until `queue` batches are on their way.
    fn issue(&mut self) {
        let Some(jobs) = &self.jobs else { return };
        while self.issued - self.delivered < self.queue {
            let Some(job) = self.plan.next_job() else { return };
            // Workers end only when told to, so that somebody listens; were it otherwise, waiting would report it.
            if jobs.send((self.issued, job)).is_err() {
                return;
            }
            self.issued += 1;
        }
    }

    fn wait_for_next(&mut self) -> Option<Result<Built<B>>> {
        if self.issued == self.delivered || self.jobs.is_none() {
            return None;
        }
        loop {
            if let Some(built) = self.early.remove(&self.delivered) {
                return Some(Ok(built));
            }
            match self.built.recv() {
                Ok((number, built)) => self.early.insert(number, built),
                Err(_) => return Some(Err(Error::WorkerPanic("all workers are gone".into()))),
            };
        }
    }

    fn end(&mut self, e: Error) -> Error {
        self.jobs = None;
        self.stop.store(true, Ordering::Relaxed);
        e
    }
}

impl<B: Send + 'static> Iterator for Loader<B> {
    type Item = Result<B>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_batch()
    }
}

impl<B> Drop for Loader<B> {
    /// Workers finish the sample they are at, not the batch.
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.jobs = None;
        for worker in self.workers.drain(..) {
            // A worker catches its own panics, and a second panic while dropping would abort the program.
            let _ = worker.join();
        }
    }
}
