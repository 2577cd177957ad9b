//! Ranks that reach each other by MPI.

use std::env;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use candle_core::{DType, Tensor, Var};

use crate::mpi_world::World;
use crate::{Alone, Collective, Error, Pending, Result};

/// One of these is set for a process that was started as one of several: by Open MPI's mpirun, by Slurm's srun with
/// PMIx, by MPICH or srun with PMI.
const STARTED_BY_MPI: [&str; 3] = ["OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_RANK"];

/// How long [`Mpi`] usually waits for the others: some of them may be busy with a checkpoint or an evaluation.
pub const USUAL_LIMIT: Duration = Duration::from_secs(30 * 60);

/// How long [`Collective::abort`] gives MPI to end the other processes.
const ABORT_LIMIT: Duration = Duration::from_secs(10);

type Job = Box<dyn FnOnce(&World) + Send>;

/// Processes that mpirun started.
///
/// One thread owns MPI, and does one thing after the other as it is told to over a channel, so that sums go on while
/// the caller computes. Dropping it waits for all ranks to come to their end. When it is dropped by a panic, it aborts.
pub struct Mpi {
    rank: usize,
    world: usize,
    limit: Duration,
    /// None once it is being dropped.
    jobs: Mutex<Option<Sender<Job>>>,
    finalized: Mutex<Receiver<()>>,
    abort: Arc<AtomicBool>,
    lost: Arc<AtomicBool>,
}

/// Connects to the other processes if this one was started as one of several, else it is alone.
///
/// To be called once in a process. `limit` is how long a rank waits for the others before it takes one as lost.
///
/// # Errors
/// When MPI cannot be initialised.
pub fn connect(limit: Duration) -> Result<Arc<dyn Collective>> {
    match STARTED_BY_MPI.iter().any(|name| env::var_os(name).is_some()) {
        true => Ok(Arc::new(Mpi::connect(limit)?)),
        false => Ok(Arc::new(Alone)),
    }
}

impl Mpi {
    /// Initialises MPI, on a thread of its own.
    ///
    /// # Errors
    /// When it cannot be initialised, or was before in this process.
    pub fn connect(limit: Duration) -> Result<Self> {
        let (jobs, todo) = mpsc::channel::<Job>();
        let (hello, started) = mpsc::channel();
        let (goodbye, finalized) = mpsc::channel();
        let abort = Arc::new(AtomicBool::new(false));
        let flag = abort.clone();
        let run = move || {
            let world = match World::initialise(flag) {
                Ok(world) => world,
                Err(problem) => return drop(hello.send(Err(problem))),
            };
            // Nobody listens if the caller gave up; then there are no jobs either.
            let _ = hello.send(Ok((world.rank(), world.size())));
            todo.into_iter().for_each(|job| job(&world));
            drop(world);
            let _ = goodbye.send(());
        };
        let spawned = thread::Builder::new().name("mpi".to_owned()).spawn(run);
        spawned.map_err(|error| Error::Connect(error.to_string()))?;
        let (rank, world) = match started.recv_timeout(limit) {
            Ok(answer) => answer.map_err(Error::Connect)?,
            Err(_) => return Err(Error::Connect("MPI did not initialise in time".to_owned())),
        };
        let lost = Arc::new(AtomicBool::new(false));
        let (jobs, finalized) = (Mutex::new(Some(jobs)), Mutex::new(finalized));
        Ok(Self { rank, world, limit, jobs, finalized, abort, lost })
    }

    /// Has the thread do something after all that it was told before.
    fn submit<R: Send + 'static>(
        &self,
        run: impl FnOnce(&World) -> Result<R> + Send + 'static,
    ) -> Result<Reply<R>> {
        let (answer, answers) = mpsc::channel();
        // The answer is not wanted where an earlier failure was returned.
        let job: Job = Box::new(move |world| drop(answer.send(run(world))));
        let Self { rank, world, limit, .. } = *self;
        let reply = Reply { answers, rank, world, limit, lost: self.lost.clone() };
        match lock(&self.jobs).as_ref().map(|jobs| jobs.send(job)) {
            Some(Ok(())) => Ok(reply),
            _ => Err(reply.lost("its MPI thread has ended".to_owned())),
        }
    }

    /// Does something after all that was begun before, and waits for it.
    fn run<R: Send + 'static>(
        &self,
        run: impl FnOnce(&World) -> Result<R> + Send + 'static,
    ) -> Result<R> {
        self.submit(run)?.wait()
    }
}

/// What the MPI thread will answer.
struct Reply<R> {
    answers: Receiver<Result<R>>,
    rank: usize,
    world: usize,
    limit: Duration,
    lost: Arc<AtomicBool>,
}

impl<R> Reply<R> {
    fn wait(self) -> Result<R> {
        match self.answers.recv_timeout(self.limit) {
            Ok(answer) => answer,
            Err(RecvTimeoutError::Timeout) => Err(self.lost(format!(
                "no answer in {} s; one of them hangs or has ended",
                self.limit.as_secs_f64()
            ))),
            Err(RecvTimeoutError::Disconnected) => {
                Err(self.lost("its MPI thread has ended".to_owned()))
            }
        }
    }

    fn lost(&self, problem: String) -> Error {
        self.lost.store(true, Ordering::SeqCst);
        Error::Lost { rank: self.rank, world: self.world, problem }
    }
}

impl Collective for Mpi {
    fn rank(&self) -> usize {
        self.rank
    }

    fn world(&self) -> usize {
        self.world
    }

    fn start_sum(&self, numbers: Tensor) -> Result<Pending> {
        check_f32(&numbers)?;
        let numbers = numbers.contiguous()?;
        let reply = self.submit(move |world| {
            world.sum_in_place(&numbers)?;
            Ok(numbers)
        })?;
        Ok(Pending::new(move || reply.wait()))
    }

    fn sum(&self, numbers: &mut [f64]) -> Result<()> {
        let own = numbers.to_vec();
        numbers.copy_from_slice(&self.run(move |world| Ok(world.sum(&own)))?);
        Ok(())
    }

    fn broadcast(&self, vars: &[Var]) -> Result<()> {
        vars.iter().try_for_each(|var| check_f32(var))?;
        for var in vars {
            let mut numbers = var.flatten_all()?.to_vec1::<f32>()?;
            let numbers = self.run(move |world| {
                world.broadcast(&mut numbers);
                Ok(numbers)
            })?;
            if self.rank > 0 {
                var.set(&Tensor::from_vec(numbers, var.shape(), var.device())?)?;
            }
        }
        Ok(())
    }

    fn broadcast_bytes(&self, mut bytes: Vec<u8>) -> Result<Vec<u8>> {
        self.run(move |world| {
            let mut length = [bytes.len() as u64];
            world.broadcast(&mut length);
            // On rank 0 it has this length.
            bytes.resize(length[0] as usize, 0);
            world.broadcast(&mut bytes);
            Ok(bytes)
        })
    }

    fn gather_bytes(&self, bytes: Vec<u8>) -> Result<Vec<Vec<u8>>> {
        let (rank, size) = (self.rank, self.world);
        self.run(move |world| {
            world.gather(&bytes).map_err(|problem| Error::Lost { rank, world: size, problem })
        })
    }

    fn abort(&self) -> ! {
        self.abort.store(true, Ordering::SeqCst);
        // Wakes the thread, which looks at the flag, if it does not wait for others; then it looks at it too.
        if let Some(jobs) = lock(&self.jobs).as_ref() {
            let _ = jobs.send(Box::new(World::abort_if_told));
        }
        thread::sleep(ABORT_LIMIT);
        std::process::exit(1)
    }
}

impl Drop for Mpi {
    fn drop(&mut self) {
        if thread::panicking() {
            self.abort();
        }
        // Its end makes the thread finalise.
        lock(&self.jobs).take();
        if !self.lost.load(Ordering::SeqCst) {
            let _ = lock(&self.finalized).recv_timeout(self.limit);
        }
    }
}

fn check_f32(tensor: &Tensor) -> Result<()> {
    match tensor.dtype() {
        DType::F32 => Ok(()),
        other => Err(candle_core::Error::Msg(format!(
            "{other:?} numbers {:?} to send to other ranks, expected F32",
            tensor.dims()
        ))
        .into()),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
