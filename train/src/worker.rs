//! A thread that owns what connects to the other ranks, and does one thing after the other on it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crate::{Error, Result};

type Job<W> = Box<dyn FnOnce(&mut W) + Send>;

/// The thread, which takes jobs over a channel, so that sums go on while the caller computes.
pub(crate) struct Worker<W> {
    rank: usize,
    world: usize,
    limit: Duration,
    /// None once it is to end.
    jobs: Mutex<Option<Sender<Job<W>>>>,
    ended: Mutex<Receiver<()>>,
    lost: Arc<AtomicBool>,
}

impl<W: 'static> Worker<W> {
    /// Starts the thread, where `open` makes the connection and says which rank of how many it is. Whoever asks for
    /// something waits no longer than `limit`.
    pub fn start(
        name: &str,
        limit: Duration,
        open: impl FnOnce() -> Result<(W, usize, usize)> + Send + 'static,
    ) -> Result<Self> {
        let (jobs, todo) = mpsc::channel::<Job<W>>();
        let (hello, started) = mpsc::channel();
        let (goodbye, ended) = mpsc::channel();
        let run = move || {
            let (mut connection, rank, world) = match open() {
                Ok(opened) => opened,
                Err(error) => return drop(hello.send(Err(error))),
            };
            // Nobody listens if the caller gave up; then there are no jobs either.
            let _ = hello.send(Ok((rank, world)));
            todo.into_iter().for_each(|job| job(&mut connection));
            drop(connection);
            let _ = goodbye.send(());
        };
        let spawned = thread::Builder::new().name(name.to_owned()).spawn(run);
        spawned.map_err(|error| Error::Connect(error.to_string()))?;
        let (rank, world) = match started.recv_timeout(limit) {
            Ok(answer) => answer?,
            Err(_) => return Err(Error::Connect(format!("{name} did not start in time"))),
        };
        let (jobs, ended) = (Mutex::new(Some(jobs)), Mutex::new(ended));
        Ok(Self { rank, world, limit, jobs, ended, lost: Arc::default() })
    }

    pub fn rank(&self) -> usize {
        self.rank
    }

    pub fn world(&self) -> usize {
        self.world
    }

    /// Has the thread do something after all that it was told before.
    pub fn submit<R: Send + 'static>(
        &self,
        run: impl FnOnce(&mut W) -> Result<R> + Send + 'static,
    ) -> Result<Reply<R>> {
        let (answer, answers) = mpsc::channel();
        let Self { rank, world, limit, .. } = *self;
        let reply = Reply { answers, rank, world, limit, lost: self.lost.clone() };
        // The answer is not wanted where an earlier failure was returned.
        match self.tell(move |connection| drop(answer.send(run(connection)))) {
            true => Ok(reply),
            false => Err(reply.lost(ENDED.to_owned())),
        }
    }

    /// Does something after all that was begun before, and waits for it.
    pub fn run<R: Send + 'static>(
        &self,
        run: impl FnOnce(&mut W) -> Result<R> + Send + 'static,
    ) -> Result<R> {
        self.submit(run)?.wait()
    }

    /// Has the thread do something of which nobody hears; whether the thread is there.
    pub fn tell(&self, job: impl FnOnce(&mut W) + Send + 'static) -> bool {
        lock(&self.jobs).as_ref().is_some_and(|jobs| jobs.send(Box::new(job)).is_ok())
    }

    /// Whether the others were lost.
    pub fn is_lost(&self) -> bool {
        self.lost.load(Ordering::SeqCst)
    }

    /// Has the thread end after what it was told, and waits for that unless the others are lost.
    pub fn finish(&self) {
        lock(&self.jobs).take();
        if !self.is_lost() {
            let _ = lock(&self.ended).recv_timeout(self.limit);
        }
    }
}

const ENDED: &str = "the thread that talks to them has ended";

/// What the thread will answer.
pub(crate) struct Reply<R> {
    answers: Receiver<Result<R>>,
    rank: usize,
    world: usize,
    limit: Duration,
    lost: Arc<AtomicBool>,
}

impl<R> Reply<R> {
    pub fn wait(self) -> Result<R> {
        match self.answers.recv_timeout(self.limit) {
            Ok(Err(error)) if error.lost() => {
                self.lost.store(true, Ordering::SeqCst);
                Err(error)
            }
            Ok(answer) => answer,
            Err(RecvTimeoutError::Timeout) => Err(self.lost(format!(
                "no answer in {} s; one of them hangs or has ended",
                self.limit.as_secs_f64()
            ))),
            Err(RecvTimeoutError::Disconnected) => Err(self.lost(ENDED.to_owned())),
        }
    }

    fn lost(&self, problem: String) -> Error {
        self.lost.store(true, Ordering::SeqCst);
        Error::Lost { rank: self.rank, world: self.world, problem }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
