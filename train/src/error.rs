use std::path::PathBuf;

/// An error from what the engine was given: a task, a loader, an observer.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What can go wrong while training.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file of the run could not be read or written.
    #[error("{action} {}: {source}", path.display())]
    Io {
        /// What was tried, such as "writing".
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// A checkpoint that is not whole.
    #[error("checkpoint {}: {problem}", path.display())]
    BadCheckpoint {
        /// The checkpoint's folder.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A folder without any checkpoint that verifies.
    #[error("no usable checkpoint in {}", .0.display())]
    NoCheckpoint(PathBuf),
    /// State that does not fit the task.
    #[error("{what} does not fit this model: {problem}")]
    Mismatch {
        /// Which state.
        what: &'static str,
        /// Names and shapes that differ.
        problem: String,
    },
    /// State of another optimiser.
    #[error(
        "the checkpoint's optimiser state is that of {found}, this run optimises with {expected}"
    )]
    OtherOptimizer {
        /// Whose state it is.
        found: &'static str,
        /// The run's optimiser.
        expected: &'static str,
    },
    /// A parameter that is listed twice.
    #[error("parameter `{0}` is listed twice")]
    DuplicateParameter(String),
    /// The loss or its gradient stayed non-finite.
    #[error(
        "loss or gradient was not finite in {steps} steps in a row, last at step {step} (samples: {samples}); \
         the last checkpoint holds the weights before. A lower learning rate or gradient clipping may help"
    )]
    NotFinite {
        /// Skipped steps in a row.
        steps: usize,
        /// The last of them.
        step: u64,
        /// Samples of the last skipped step.
        samples: String,
    },
    /// A count that must not be zero.
    #[error("{0} must not be zero")]
    ZeroCount(&'static str),
    /// A setting that makes no sense.
    #[error("{name} {found}: expected a number {expected}")]
    Setting {
        /// Its name.
        name: &'static str,
        /// What was given.
        found: f64,
        /// What would do.
        expected: &'static str,
    },
    /// The loss spiked again and again.
    #[error(
        "the loss spiked {rollbacks} times, last at step {step}: going back does not help. A lower learning rate or \
         gradient clipping may"
    )]
    Spikes {
        /// Rollbacks so far.
        rollbacks: u32,
        /// The step of the last spike.
        step: u64,
    },
    /// The thread that saves could not be started.
    #[error("cannot start the thread that saves: {0}")]
    Thread(std::io::Error),
    /// The thread that saves broke down.
    #[error("the thread that saves checkpoints broke down")]
    Saving,
    /// The loss does not depend on any parameter.
    #[error(
        "step {step}: no parameter has a gradient; an operation between them and the loss drops it"
    )]
    NoGradient {
        /// Steps done.
        step: u64,
    },
    /// The loader ended before the run did.
    #[error("data ended at step {step} of {total}")]
    DataEnded {
        /// Steps done.
        step: u64,
        /// Steps planned.
        total: u64,
    },
    /// The task failed.
    #[error("step {step}: {source}")]
    Task {
        /// The step.
        step: u64,
        /// Why.
        source: BoxError,
    },
    /// The loader failed.
    #[error(transparent)]
    Data(BoxError),
    /// An observer or a hook failed.
    #[error(transparent)]
    Observer(BoxError),
    /// This process could not join the others.
    #[error("joining the other processes of the run: {0}")]
    Connect(String),
    /// Variables that a launcher sets are missing or make no sense.
    #[error("started as one of several processes: {0}")]
    Launch(String),
    /// A tensor on a device is to be summed by something that sums in memory.
    #[error(
        "a tensor on {location:?} is to be summed over the ranks by {by}, which sums what lies in memory: \
         NCCL sums on GPUs (cargo feature `nccl`)"
    )]
    NotInMemory {
        /// What was to sum it.
        by: &'static str,
        /// Where the tensor lies.
        location: candle_core::DeviceLocation,
    },
    /// A call of NCCL or of CUDA for it failed.
    #[error("NCCL, {action}: {problem}")]
    Nccl {
        /// What was tried, such as "summing 6553600 numbers".
        action: String,
        /// What it answered.
        problem: String,
    },
    /// Communication with the other processes of the run is broken.
    #[error("rank {rank} of {world} lost the others: {problem}")]
    Lost {
        /// The rank that noticed.
        rank: usize,
        /// How many ranks there are.
        world: usize,
        /// What happened.
        problem: String,
    },
    /// A gradient was added to more often than in the first step, after it was given to the other ranks.
    #[error(
        "the gradient of `{0}` was added to more often than in the first step, while it was being summed over the \
         ranks; a model must use its weights equally often in every step"
    )]
    LateGradient(String),
    /// A process of the run failed and told the others.
    #[error("rank {rank} failed: {reason}")]
    Rank {
        /// The rank that failed.
        rank: usize,
        /// Its error.
        reason: String,
    },
    /// A tensor operation failed.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

impl Error {
    /// Wraps an input/output error with what was tried where; for `map_err`.
    pub(crate) fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }
}

/// The result of this crate's functions.
pub type Result<T> = std::result::Result<T, Error>;
