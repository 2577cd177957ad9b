//! MPI's calls, all made by the one thread that owns this.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use candle_core::{CpuStorage, InplaceOp1, Layout, Tensor, bail};
use mpi::Threading;
use mpi::collective::SystemOperation;
use mpi::datatype::PartitionMut;
use mpi::environment::Universe;
use mpi::topology::SimpleCommunicator;
use mpi::traits::{Communicator, CommunicatorCollectives, Equivalence, Root};

/// Numbers in one call: MPI counts in C's `int`.
const MOST: usize = 1 << 28;

/// Looks at a barrier without a pause, before it begins to sleep between them.
const EAGER_LOOKS: usize = 100;

/// The pause between looks: short against the time of a bucket's sum, and long enough to leave the core to others.
const PAUSE: Duration = Duration::from_micros(100);

/// All processes of the run. Dropping it finalises MPI.
pub(crate) struct World {
    communicator: SimpleCommunicator,
    abort: Arc<AtomicBool>,
    /// Room for a sum, kept since fresh memory costs as much time as the sum.
    room: RefCell<Vec<f32>>,
    _universe: Universe,
}

impl World {
    /// Initialises MPI; `abort` makes it abort when it next waits for others.
    pub fn initialise(abort: Arc<AtomicBool>) -> Result<Self, String> {
        let Some((universe, threading)) = mpi::initialize_with_threading(Threading::Funneled)
        else {
            return Err("MPI was initialised before in this process".to_owned());
        };
        if threading < Threading::Funneled {
            return Err("this MPI library allows no threads beside its own".to_owned());
        }
        Ok(Self {
            communicator: universe.world(),
            abort,
            room: RefCell::default(),
            _universe: universe,
        })
    }

    pub fn rank(&self) -> usize {
        self.communicator.rank() as usize
    }

    pub fn size(&self) -> usize {
        self.communicator.size() as usize
    }

    /// The sum over all ranks.
    pub fn sum<T: Equivalence + Clone + Default>(&self, numbers: &[T]) -> Vec<T> {
        let mut sum = vec![T::default(); numbers.len()];
        self.sum_into(numbers, &mut sum);
        sum
    }

    /// Replaces a tensor's numbers by their sum over all ranks.
    pub fn sum_in_place(&self, numbers: &Tensor) -> candle_core::Result<()> {
        numbers.inplace_op1(&Sum(self))
    }

    fn sum_into<T: Equivalence>(&self, numbers: &[T], sum: &mut [T]) {
        self.meet();
        for (own, sum) in numbers.chunks(MOST).zip(sum.chunks_mut(MOST)) {
            self.communicator.all_reduce_into(own, sum, SystemOperation::sum());
        }
    }

    /// Replaces numbers by those of rank 0.
    pub fn broadcast<T: Equivalence>(&self, numbers: &mut [T]) {
        self.meet();
        let root = self.communicator.process_at_rank(0);
        numbers.chunks_mut(MOST).for_each(|numbers| root.broadcast_into(numbers));
    }

    /// Everyone's bytes; an error if there are too many of them.
    pub fn gather(&self, bytes: &[u8]) -> Result<Vec<Vec<u8>>, String> {
        self.meet();
        let mut lengths = vec![0_u64; self.size()];
        self.communicator.all_gather_into(&(bytes.len() as u64), &mut lengths[..]);
        let total = lengths.iter().fold(0_u64, |sum, length| sum.saturating_add(*length));
        if total > MOST as u64 {
            return Err(format!("{total} bytes to gather, at most {MOST} can be"));
        }
        let counts: Vec<i32> = lengths.iter().map(|length| *length as i32).collect();
        let starts: Vec<i32> = counts
            .iter()
            .scan(0, |end, count| {
                let start = *end;
                *end += count;
                Some(start)
            })
            .collect();
        let mut all = vec![0_u8; total as usize];
        let mut parts = PartitionMut::new(&mut all[..], &counts[..], &starts[..]);
        self.communicator.all_gather_varcount_into(bytes, &mut parts);
        let mut rest = &all[..];
        Ok(counts
            .iter()
            .map(|count| {
                let (own, others) = rest.split_at(*count as usize);
                rest = others;
                own.to_vec()
            })
            .collect())
    }

    /// Waits until all ranks are here. MPI's own waiting would keep a core busy that the models compute on.
    fn meet(&self) {
        self.abort_if_told();
        let mut barrier = self.communicator.immediate_barrier();
        let mut looks = 0;
        while let Err(not_yet) = barrier.test() {
            barrier = not_yet;
            self.abort_if_told();
            looks += 1;
            if looks < EAGER_LOOKS { thread::yield_now() } else { thread::sleep(PAUSE) }
        }
    }

    /// Ends all processes if that is wanted.
    pub fn abort_if_told(&self) {
        if self.abort.load(Ordering::SeqCst) {
            self.communicator.abort(1);
        }
    }
}

/// A sum where the numbers lie.
struct Sum<'a>(&'a World);

impl InplaceOp1 for Sum<'_> {
    fn name(&self) -> &'static str {
        "sum-over-ranks"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> candle_core::Result<()> {
        let (CpuStorage::F32(numbers), Some((start, end))) = (storage, layout.contiguous_offsets())
        else {
            bail!("expected contiguous f32 numbers to sum over ranks")
        };
        let numbers = &mut numbers[start..end];
        let mut room = self.0.room.borrow_mut();
        if room.len() < numbers.len() {
            room.resize(numbers.len(), 0.0);
        }
        let sum = &mut room[..numbers.len()];
        self.0.sum_into(numbers, sum);
        numbers.copy_from_slice(sum);
        Ok(())
    }
}
