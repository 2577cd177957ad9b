//! Ranks that reach each other by MPI.

use std::env;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use candle_core::{Tensor, Var};

pub use crate::collective::USUAL_LIMIT;
use crate::collective::{check_f32, check_host};
use crate::mpi_world::World;
use crate::worker::Worker;
use crate::{Alone, Collective, Error, Pending, Result};

/// One of these is set for a process that was started as one of several: by Open MPI's mpirun, by Slurm's srun with
/// PMIx, by MPICH or srun with PMI.
const STARTED_BY_MPI: [&str; 3] = ["OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_RANK"];

/// How long [`Collective::abort`] gives MPI to end the other processes.
const ABORT_LIMIT: Duration = Duration::from_secs(10);

/// Processes that mpirun started.
///
/// One thread owns MPI, and does one thing after the other as it is told to over a channel, so that sums go on while
/// the caller computes. Dropping it waits for all ranks to come to their end. When it is dropped by a panic, it aborts.
pub struct Mpi {
    worker: Worker<World>,
    abort: Arc<AtomicBool>,
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
        let abort = Arc::new(AtomicBool::new(false));
        let flag = abort.clone();
        let worker = Worker::start("MPI", limit, move || {
            let world = World::initialise(flag).map_err(Error::Connect)?;
            let (rank, size) = (world.rank(), world.size());
            Ok((world, rank, size))
        })?;
        Ok(Self { worker, abort })
    }
}

impl Collective for Mpi {
    fn rank(&self) -> usize {
        self.worker.rank()
    }

    fn world(&self) -> usize {
        self.worker.world()
    }

    fn start_sum(&self, numbers: Tensor) -> Result<Pending> {
        check_f32(&numbers)?;
        check_host(&numbers, "MPI")?;
        let numbers = numbers.contiguous()?;
        let reply = self.worker.submit(move |world| {
            world.sum_in_place(&numbers)?;
            Ok(numbers)
        })?;
        Ok(Pending::new(move || reply.wait()))
    }

    fn sum(&self, numbers: &mut [f64]) -> Result<()> {
        let own = numbers.to_vec();
        numbers.copy_from_slice(&self.worker.run(move |world| Ok(world.sum(&own)))?);
        Ok(())
    }

    fn broadcast(&self, vars: &[Var]) -> Result<()> {
        vars.iter().try_for_each(|var| check_f32(var))?;
        for var in vars {
            let mut numbers = var.flatten_all()?.to_vec1::<f32>()?;
            let numbers = self.worker.run(move |world| {
                world.broadcast(&mut numbers);
                Ok(numbers)
            })?;
            if self.rank() > 0 {
                var.set(&Tensor::from_vec(numbers, var.shape(), var.device())?)?;
            }
        }
        Ok(())
    }

    fn broadcast_bytes(&self, mut bytes: Vec<u8>) -> Result<Vec<u8>> {
        self.worker.run(move |world| {
            let mut length = [bytes.len() as u64];
            world.broadcast(&mut length);
            // On rank 0 it has this length.
            bytes.resize(length[0] as usize, 0);
            world.broadcast(&mut bytes);
            Ok(bytes)
        })
    }

    fn gather_bytes(&self, bytes: Vec<u8>) -> Result<Vec<Vec<u8>>> {
        let (rank, size) = (self.rank(), self.world());
        self.worker.run(move |world| {
            world.gather(&bytes).map_err(|problem| Error::Lost { rank, world: size, problem })
        })
    }

    fn abort(&self) -> ! {
        self.abort.store(true, Ordering::SeqCst);
        // Wakes the thread, which looks at the flag, if it does not wait for others; then it looks at it too.
        self.worker.tell(|world| world.abort_if_told());
        thread::sleep(ABORT_LIMIT);
        std::process::exit(1)
    }
}

impl Drop for Mpi {
    fn drop(&mut self) {
        if thread::panicking() {
            self.abort();
        }
        // The thread finalises at its end.
        self.worker.finish();
    }
}
