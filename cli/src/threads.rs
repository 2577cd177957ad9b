//! How many threads compute.

/// candle reads its number of threads from this variable, once, before its first operation.
const VARIABLE: &str = "RAYON_NUM_THREADS";

/// Limits the computation to `wanted` threads, if a number was given.
///
/// The variable must stand before the program starts, so the program starts itself again with it.
///
/// # Errors
/// When that fails, or the system has no way to.
pub fn limit(wanted: Option<usize>) -> anyhow::Result<()> {
    let Some(wanted) = wanted.map(|count| count.to_string()) else { return Ok(()) };
    if std::env::var(VARIABLE).is_ok_and(|set| set == wanted) {
        return Ok(());
    }
    restart(&wanted)
}

#[cfg(unix)]
fn restart(threads: &str) -> anyhow::Result<()> {
    use std::os::unix::process::CommandExt;

    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_default();
    let error = std::process::Command::new(std::env::current_exe()?)
        .arg0(name)
        .args(arguments)
        .env(VARIABLE, threads)
        .exec();
    Err(anyhow::Error::from(error).context(format!("cannot restart with {threads} threads")))
}

#[cfg(not(unix))]
fn restart(threads: &str) -> anyhow::Result<()> {
    Err(crate::exit::usage(format!(
        "--threads {threads} is not there yet on this system: set {VARIABLE}={threads} instead"
    )))
}
