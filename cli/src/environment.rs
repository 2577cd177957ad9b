//! What must be settled before the program's first allocation and operation, by variables that are read once.

use std::env;

/// candle and rayon read their number of threads from this variable.
const THREADS: &str = "RAYON_NUM_THREADS";
/// How mimalloc saves memory at a price in time: no huge pages, which leave a tenth of the memory unused, and freed memory
/// back to the system after ten milliseconds (see `keep_freed_memory`).
const SAVING: [(&str, &str); 2] = [("MIMALLOC_ALLOW_THP", "0"), ("MIMALLOC_PURGE_DELAY", "10")];

/// Limits the computation to `threads` threads, if a number was given, and has the allocator save memory if that is wanted
/// and the user has not decided otherwise. Where that needs other variables, the program starts itself again.
///
/// # Errors
/// When that fails, or the system has no way to.
pub fn settle(threads: Option<usize>, save_memory: bool) -> anyhow::Result<()> {
    let mut wanted = Vec::new();
    if let Some(threads) = threads {
        wanted.push((THREADS, threads.to_string()));
    }
    if save_memory {
        let undecided = SAVING.iter().filter(|(name, _)| env::var_os(name).is_none());
        wanted.extend(undecided.map(|(name, value)| (*name, (*value).to_owned())));
    }
    wanted.retain(|(name, value)| env::var(name).ok().as_ref() != Some(value));
    if wanted.is_empty() { Ok(()) } else { restart(&wanted) }
}

#[cfg(unix)]
fn restart(variables: &[(&str, String)]) -> anyhow::Result<()> {
    use std::os::unix::process::CommandExt;

    let mut arguments = env::args_os();
    let name = arguments.next().unwrap_or_default();
    let error = std::process::Command::new(env::current_exe()?)
        .arg0(name)
        .args(arguments)
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .exec();
    Err(anyhow::Error::from(error)
        .context("cannot restart with other variables for threads and memory"))
}

#[cfg(not(unix))]
fn restart(variables: &[(&str, String)]) -> anyhow::Result<()> {
    match variables.iter().find(|(name, _)| *name == THREADS) {
        Some((name, threads)) => Err(crate::exit::usage(format!(
            "--threads {threads} is not there yet on this system: set {name}={threads} instead"
        ))),
        None => Ok(()),
    }
}
