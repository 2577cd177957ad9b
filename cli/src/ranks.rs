//! The processes that train together, where mpirun, srun or torchrun started several.

use std::sync::Arc;

use candle_core::Device;
use longmae_train::sockets::{Launch, Sockets};
use longmae_train::{Collective, Status, Task, USUAL_LIMIT};

use crate::exit;

/// Where launchers of MPI tell how many processes they started: Open MPI's mpirun, MPICH's.
const MPI_SIZES: [&str; 2] = ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE"];

/// As these, of Slurm's srun; but it starts torchrun too, once on each machine.
const SLURM_SIZE: &str = "SLURM_STEP_NUM_TASKS";

/// How many processes the launcher started; 1 without one.
pub fn expected() -> anyhow::Result<usize> {
    if let Some(launch) = torchrun()? {
        return Ok(launch.world());
    }
    let mut sizes = MPI_SIZES.into_iter().chain([SLURM_SIZE]);
    Ok(sizes.find_map(size).unwrap_or(1))
}

fn size(name: &str) -> Option<usize> {
    std::env::var(name).ok()?.parse().ok().filter(|size| *size > 0)
}

/// What torchrun says, if it started this process as one of several.
fn torchrun() -> anyhow::Result<Option<Launch>> {
    let Some(launch) = Launch::from_env()?.filter(|launch| launch.world() > 1) else {
        return Ok(None);
    };
    let by_mpi = |name| Some((name, size(name).filter(|size| *size > 1)?));
    if let Some((name, size)) = MPI_SIZES.into_iter().find_map(by_mpi) {
        anyhow::bail!(
            "MPI says that it started {size} processes ({name}), and torchrun's variables that there are {} \
             (WORLD_SIZE): for MPI unset RANK and WORLD_SIZE, for torchrun start it without mpirun, or by \
             `srun --mpi=none torchrun ...`",
            launch.world()
        );
    }
    Ok(Some(launch))
}

/// Connects to the others, of which there are `expected` with this one: over TCP where torchrun started them, else by MPI.
pub fn connect(expected: usize) -> anyhow::Result<Arc<dyn Collective>> {
    let collective: Arc<dyn Collective> = match torchrun()? {
        Some(launch) => Arc::new(Sockets::connect(&launch, USUAL_LIMIT)?),
        None => by_mpi(expected)?,
    };
    let world = collective.world();
    if world != expected {
        anyhow::bail!(
            "the launcher says that it started {expected} processes, {world} found each other"
        );
    }
    // Nobody writes before everybody has looked at what is there.
    collective.sum(&mut [0.0])?;
    Ok(collective)
}

#[cfg(feature = "mpi")]
fn by_mpi(_expected: usize) -> anyhow::Result<Arc<dyn Collective>> {
    Ok(longmae_train::mpi::connect(USUAL_LIMIT)?)
}

/// One process alone: several would each train a run of their own.
#[cfg(not(feature = "mpi"))]
fn by_mpi(expected: usize) -> anyhow::Result<Arc<dyn Collective>> {
    if expected > 1 {
        anyhow::bail!(
            "{expected} processes were started, and this program was built without MPI: cargo build --features mpi, or \
             start them by torchrun, which needs none (see docs/distributed.md)"
        );
    }
    Ok(Arc::new(longmae_train::Alone))
}

/// What sums a task's gradients, where they lie.
pub fn summing(
    collective: &Arc<dyn Collective>,
    task: &impl Task,
) -> anyhow::Result<Arc<dyn Collective>> {
    let parameters = task.parameters();
    match parameters.first().map(|parameter| parameter.var.device()) {
        Some(device @ Device::Cuda(_)) if collective.world() > 1 => on_gpus(collective, device),
        _ => Ok(collective.clone()),
    }
}

#[cfg(feature = "nccl")]
fn on_gpus(
    collective: &Arc<dyn Collective>,
    device: &Device,
) -> anyhow::Result<Arc<dyn Collective>> {
    use longmae_train::nccl::Nccl;

    Ok(Arc::new(Nccl::connect(collective.clone(), device, USUAL_LIMIT)?))
}

#[cfg(not(feature = "nccl"))]
fn on_gpus(
    collective: &Arc<dyn Collective>,
    _device: &Device,
) -> anyhow::Result<Arc<dyn Collective>> {
    anyhow::bail!(
        "{} processes with a GPU each: this program was built without NCCL (cargo build --features nccl, see \
         docs/distributed.md)",
        collective.world()
    )
}

/// Fails on all ranks if it failed on one: with the rank's own error there, with its words elsewhere.
pub fn agree<T>(collective: &dyn Collective, own: anyhow::Result<T>) -> anyhow::Result<T> {
    let failure = own.as_ref().err().map(|error| format!("{error:#}"));
    let all = Status { failure, ..Status::default() }.agree(collective);
    let own = own?;
    all?;
    Ok(own)
}

/// Ends all ranks where this one can no longer talk to them: they would wait for it.
pub fn abort_if_lost(
    collective: &dyn Collective,
    outcome: anyhow::Result<()>,
) -> anyhow::Result<()> {
    let Err(error) = outcome else { return Ok(()) };
    let lost = |cause: &(dyn std::error::Error + 'static)| {
        cause.downcast_ref::<longmae_train::Error>().is_some_and(longmae_train::Error::lost)
    };
    if collective.world() > 1 && error.chain().any(lost) {
        exit::say(&error);
        collective.abort();
    }
    Err(error)
}

/// All ranks must do the same: their `recipe` is that of rank 0.
pub fn same_recipe(collective: &dyn Collective, recipe: &str) -> anyhow::Result<()> {
    let first = collective.broadcast_bytes(recipe.as_bytes().to_vec())?;
    let same = match first == recipe.as_bytes() {
        true => Ok(()),
        false => Err(anyhow::anyhow!(
            "rank {} has other settings than rank 0: were all started by one command?",
            collective.rank()
        )),
    };
    agree(collective, same)
}
