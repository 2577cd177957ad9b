#![deny(missing_docs)]
#![doc = include_str!("../README.md")]

mod adamw;
mod bucket;
mod checkpoint;
mod collective;
mod error;
mod gradients;
mod memory;
mod metrics;
#[cfg(feature = "mpi")]
pub mod mpi;
#[cfg(feature = "mpi")]
mod mpi_world;
mod observer;
mod reducer;
mod save_every;
mod schedule;
mod stateful;
mod status;
mod task;
mod tensorboard;
mod tensors;
mod trainer;

pub use adamw::{AdamW, AdamWConfig};
pub use checkpoint::{Checkpoint, Checkpoints, RunState};
pub use collective::{Alone, Collective, Pending};
pub use error::{BoxError, Error, Result};
pub use gradients::Gradients;
pub use memory::resident_mb;
pub use metrics::{EvalRecord, MetricsLog, StepKind, StepRecord};
pub use observer::{Observer, Silent};
pub use reducer::Reducer;
pub use save_every::SaveEvery;
pub use schedule::{Schedule, layer_scales};
pub use stateful::{Batches, Stateful};
pub use status::Status;
pub use task::{FnTask, NamedParam, StepContext, StepOutput, Task, task_fn};
pub use tensorboard::EventWriter;
pub use trainer::{Outcome, Progress, TrainConfig, Trainer};
