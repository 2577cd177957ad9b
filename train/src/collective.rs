//! Several processes that train one model together.

use std::time::Duration;

use candle_core::{DType, Tensor, Var};

use crate::{Error, Result};

/// How long ranks usually wait for each other: some of them may be busy with a checkpoint or an evaluation.
pub const USUAL_LIMIT: Duration = Duration::from_secs(30 * 60);

/// Communication between the processes ("ranks") that train one model together: data parallel, each with its own part
/// of every batch. Rank 0 writes files.
///
/// All ranks call the same methods in the same order, with tensors of the same sizes. What is summed lies in tensors and
/// not in slices, so that one implementation can leave it on its GPU (NCCL) and another take it from memory (MPI).
/// Every rank gets the same bits, and the same bits in every run on the same ranks.
pub trait Collective: Send + Sync {
    /// The number of this process, below [`Collective::world`].
    fn rank(&self) -> usize;

    /// How many processes there are.
    fn world(&self) -> usize;

    /// Begins to sum f32 numbers over all ranks, while the caller goes on computing. Sums run in the order in which they
    /// were begun. The tensor may be changed where it lies; it is the sum's from here on.
    ///
    /// # Errors
    /// When communication is broken ([`Error::Lost`]), or the numbers are not f32.
    fn start_sum(&self, numbers: Tensor) -> Result<Pending>;

    /// Replaces a few numbers (losses, counts, flags) by their sums over all ranks.
    ///
    /// # Errors
    /// When communication is broken.
    fn sum(&self, numbers: &mut [f64]) -> Result<()>;

    /// Sets f32 variables to what rank 0 has.
    ///
    /// # Errors
    /// When communication is broken, or a variable is not f32.
    fn broadcast(&self, vars: &[Var]) -> Result<()>;

    /// The bytes that rank 0 gave; those of the others are dropped.
    ///
    /// # Errors
    /// When communication is broken.
    fn broadcast_bytes(&self, bytes: Vec<u8>) -> Result<Vec<u8>>;

    /// The bytes that each rank gave, in the order of ranks.
    ///
    /// # Errors
    /// When communication is broken.
    fn gather_bytes(&self, bytes: Vec<u8>) -> Result<Vec<Vec<u8>>>;

    /// Ends all processes at once: for failures that the others do not know of and would wait for. Exit code 1.
    ///
    /// The caller prints the reason before.
    fn abort(&self) -> !;
}

/// A sum that is under way.
#[must_use = "the sum is lost if nobody waits for it"]
pub struct Pending(Box<dyn FnOnce() -> Result<Tensor> + Send>);

impl Pending {
    /// A sum that `wait` waits for.
    pub fn new(wait: impl FnOnce() -> Result<Tensor> + Send + 'static) -> Self {
        Self(Box::new(wait))
    }

    /// A sum that is there already.
    pub fn ready(sum: Tensor) -> Self {
        Self::new(|| Ok(sum))
    }

    /// Waits for the sum, of the shape that was given.
    ///
    /// # Errors
    /// When communication is broken.
    pub fn wait(self) -> Result<Tensor> {
        (self.0)()
    }
}

/// One process alone: all sums are its own numbers.
#[derive(Debug, Clone, Copy, Default)]
pub struct Alone;

impl Collective for Alone {
    fn rank(&self) -> usize {
        0
    }

    fn world(&self) -> usize {
        1
    }

    fn start_sum(&self, numbers: Tensor) -> Result<Pending> {
        Ok(Pending::ready(numbers))
    }

    fn sum(&self, _numbers: &mut [f64]) -> Result<()> {
        Ok(())
    }

    fn broadcast(&self, _vars: &[Var]) -> Result<()> {
        Ok(())
    }

    fn broadcast_bytes(&self, bytes: Vec<u8>) -> Result<Vec<u8>> {
        Ok(bytes)
    }

    fn gather_bytes(&self, bytes: Vec<u8>) -> Result<Vec<Vec<u8>>> {
        Ok(vec![bytes])
    }

    fn abort(&self) -> ! {
        std::process::exit(1)
    }
}

impl Error {
    /// Whether communication between ranks is broken, so that they cannot agree to end:
    /// [`Collective::abort`] is what is left.
    pub fn lost(&self) -> bool {
        matches!(self, Self::Lost { .. })
    }
}

/// Refuses what cannot be sent to other ranks.
pub(crate) fn check_f32(tensor: &Tensor) -> Result<()> {
    match tensor.dtype() {
        DType::F32 => Ok(()),
        other => Err(candle_core::Error::Msg(format!(
            "{other:?} numbers {:?} to send to other ranks, expected F32",
            tensor.dims()
        ))
        .into()),
    }
}

/// Refuses to sum what lies on a device by something that sums in memory: the copy would be silent, and slow.
pub(crate) fn check_host(tensor: &Tensor, by: &'static str) -> Result<()> {
    match tensor.device().is_cpu() {
        true => Ok(()),
        false => Err(Error::NotInMemory { by, location: tensor.device().location() }),
    }
}
