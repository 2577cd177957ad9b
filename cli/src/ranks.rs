//! The processes that train together, where mpirun or srun started several.

use std::sync::Arc;

use longmae_train::{Collective, Status};

use crate::exit;

/// Where launchers tell how many processes they started: Open MPI's mpirun, MPICH's, Slurm's srun.
const SIZES: [&str; 3] = ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS"];

/// How many processes the launcher started; 1 without one.
pub fn expected() -> usize {
    let size = |name| std::env::var(name).ok()?.parse().ok();
    SIZES.into_iter().find_map(size).filter(|size| *size > 0).unwrap_or(1)
}

/// Connects to the others, of which there are `expected` with this one.
#[cfg(feature = "mpi")]
pub fn connect(expected: usize) -> anyhow::Result<Arc<dyn Collective>> {
    use longmae_train::mpi;

    let collective = mpi::connect(mpi::USUAL_LIMIT)?;
    let world = collective.world();
    if world != expected {
        anyhow::bail!("the launcher says that it started {expected} processes, MPI finds {world}");
    }
    // Nobody writes before everybody has looked at what is there.
    collective.sum(&mut [0.0])?;
    Ok(collective)
}

/// One process alone: several would each train a run of their own.
#[cfg(not(feature = "mpi"))]
pub fn connect(expected: usize) -> anyhow::Result<Arc<dyn Collective>> {
    if expected > 1 {
        anyhow::bail!(
            "{expected} processes were started, and this program was built without MPI: cargo build --features mpi \
             (see docs/distributed.md)"
        );
    }
    Ok(Arc::new(longmae_train::Alone))
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
