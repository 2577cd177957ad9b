//! Ranks that reach each other over plain TCP, started by torchrun or by anything that sets its variables.
//!
//! Needs neither MPI nor PyTorch. Nothing is encrypted and nobody proves who he is: for networks that one trusts, as with
//! MPI and PyTorch's own backends.

use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::Duration;

use candle_core::{Device, Tensor, Var};

use crate::collective::{check_f32, check_host};
use crate::links::Links;
pub use crate::rendezvous::Launch;
use crate::worker::Worker;
use crate::{Collective, Error, Pending, Result};

/// How long ranks wait for each other when they start.
const JOIN_LIMIT: Duration = Duration::from_secs(10 * 60);

/// Processes that are connected to rank 0 by TCP.
///
/// Rank 0 adds in the order of ranks and sends everyone the sum, so that all have the same bits. What goes through it
/// grows with the number of ranks: for a few processes on CPUs, or for the little that NCCL leaves to it on GPUs. One
/// thread does one thing after the other as it is told to. A rank that ends or is silent for longer than the limit
/// makes all others fail ([`Error::Lost`]).
pub struct Sockets {
    worker: Worker<Links>,
    /// By which the thread is woken when it waits for others in vain.
    streams: Vec<TcpStream>,
}

impl Sockets {
    /// Connects to the others. `limit` is how long a rank waits for another before it takes it as lost.
    ///
    /// # Errors
    /// When not all ranks find each other, within `limit` and ten minutes, or do not fit together.
    pub fn connect(launch: &Launch, limit: Duration) -> Result<Self> {
        let (rank, world) = (launch.rank(), launch.world());
        let streams = launch.join(limit.min(JOIN_LIMIT))?;
        let links = Links::new(rank, streams, limit);
        let opened = links.and_then(|links| Ok((links.handles()?, links)));
        let (streams, links) = opened.map_err(|error| Error::Connect(error.to_string()))?;
        let worker = Worker::start("sockets", limit, move || Ok((links, rank, world)))?;
        Ok(Self { worker, streams })
    }

    /// What goes wrong between ranks.
    fn lost(&self) -> impl Fn(String) -> Error + Send + 'static {
        let (rank, world) = (self.rank(), self.world());
        move |problem| Error::Lost { rank, world, problem }
    }

    fn hang_up(&self) {
        for stream in &self.streams {
            // It may have ended already.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Collective for Sockets {
    fn rank(&self) -> usize {
        self.worker.rank()
    }

    fn world(&self) -> usize {
        self.worker.world()
    }

    fn start_sum(&self, numbers: Tensor) -> Result<Pending> {
        check_f32(&numbers)?;
        check_host(&numbers, "TCP")?;
        let lost = self.lost();
        let reply = self.worker.submit(move |links| {
            let mut sum = numbers.flatten_all()?.to_vec1::<f32>()?;
            let shape = numbers.shape().clone();
            drop(numbers);
            links.sum(&mut sum).map_err(lost)?;
            Ok(Tensor::from_vec(sum, shape, &Device::Cpu)?)
        })?;
        Ok(Pending::new(move || reply.wait()))
    }

    fn sum(&self, numbers: &mut [f64]) -> Result<()> {
        let (mut own, lost) = (numbers.to_vec(), self.lost());
        let sum = self.worker.run(move |links| {
            links.sum(&mut own).map_err(lost)?;
            Ok(own)
        })?;
        numbers.copy_from_slice(&sum);
        Ok(())
    }

    fn broadcast(&self, vars: &[Var]) -> Result<()> {
        vars.iter().try_for_each(|var| check_f32(var))?;
        for var in vars {
            let (mut numbers, lost) = (var.flatten_all()?.to_vec1::<f32>()?, self.lost());
            let numbers = self.worker.run(move |links| {
                links.spread(&mut numbers).map_err(lost)?;
                Ok(numbers)
            })?;
            if self.rank() > 0 {
                var.set(&Tensor::from_vec(numbers, var.shape(), var.device())?)?;
            }
        }
        Ok(())
    }

    fn broadcast_bytes(&self, bytes: Vec<u8>) -> Result<Vec<u8>> {
        let lost = self.lost();
        self.worker.run(move |links| links.broadcast(bytes).map_err(lost))
    }

    fn gather_bytes(&self, bytes: Vec<u8>) -> Result<Vec<Vec<u8>>> {
        let lost = self.lost();
        self.worker.run(move |links| links.gather(bytes).map_err(lost))
    }

    /// The others fail when they next wait for this rank, or for one that did.
    fn abort(&self) -> ! {
        self.hang_up();
        std::process::exit(1)
    }
}

impl Drop for Sockets {
    fn drop(&mut self) {
        if thread::panicking() || self.worker.is_lost() {
            self.hang_up();
        }
        self.worker.finish();
    }
}
