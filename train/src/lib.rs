#![deny(missing_docs)]
#![doc = include_str!("../README.md")]

mod adamw;
mod bucket;
mod checkpoint;
mod collective;
mod config;
mod ema;
mod error;
mod gradients;
mod hook;
mod lars;
mod links;
mod memory;
mod metrics;
#[cfg(feature = "mpi")]
pub mod mpi;
#[cfg(feature = "mpi")]
mod mpi_world;
#[cfg(feature = "nccl")]
pub mod nccl;
mod observer;
mod optimizer;
mod ranks;
mod reducer;
mod rendezvous;
mod run_state;
mod save_every;
mod saving;
mod schedule;
pub mod sockets;
mod spike;
mod stateful;
mod status;
mod step;
mod task;
mod tensorboard;
mod tensors;
mod trainer;
mod watch;
mod worker;

pub use adamw::{AdamW, AdamWConfig};
pub use checkpoint::{Checkpoint, Checkpoints, Snapshot};
pub use collective::{Alone, Collective, Pending, USUAL_LIMIT};
pub use config::{BestBy, TrainConfig};
pub use ema::Ema;
pub use error::{BoxError, Error, Result};
pub use gradients::Gradients;
pub use hook::{Every, Hook};
pub use lars::{Lars, LarsConfig};
pub use memory::resident_mb;
pub use metrics::{EvalRecord, MetricsLog, StepKind, StepRecord};
pub use observer::{Observer, Silent};
pub use optimizer::{Optimizer, OptimizerConfig};
pub use reducer::Reducer;
pub use run_state::{Best, RunState};
pub use save_every::SaveEvery;
pub use schedule::{Decay, Schedule, layer_scales};
pub use spike::SpikeDetector;
pub use stateful::{Batches, Stateful};
pub use status::Status;
pub use task::{FnTask, ModelWriter, NamedParam, StepContext, StepOutput, Task, task_fn};
pub use tensorboard::EventWriter;
pub use trainer::{Outcome, Progress, Trainer};
pub use watch::Watch;
