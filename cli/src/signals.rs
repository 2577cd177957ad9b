//! Ctrl-C, SIGTERM and SIGUSR1, which clusters send, end a run after its step.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::Context;
use signal_hook::consts::{SIGINT, SIGTERM};

/// Signals that ask for the end. mpirun hands SIGUSR1 on and waits, where it kills its processes soon after the others.
#[cfg(unix)]
const STOP: [i32; 3] = [SIGINT, SIGTERM, signal_hook::consts::SIGUSR1];
#[cfg(not(unix))]
const STOP: [i32; 2] = [SIGINT, SIGTERM];

/// Exit code when a second signal ends the program at once: 128 + SIGINT, as shells count.
const KILLED: i32 = 130;

/// A flag that a signal raises; `say` is called when that happens. A second signal ends the program at once.
/// SIGHUP is left alone, so that `nohup` works.
pub fn stop_flag(say: impl Fn() + Send + 'static) -> anyhow::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in STOP {
        // In this order: the first signal finds the flag down.
        signal_hook::flag::register_conditional_shutdown(signal, KILLED, stop.clone())
            .and_then(|_| signal_hook::flag::register(signal, stop.clone()))
            .context("cannot listen for signals")?;
    }
    announce(say)?;
    Ok(stop)
}

#[cfg(unix)]
fn announce(say: impl Fn() + Send + 'static) -> anyhow::Result<()> {
    let mut signals =
        signal_hook::iterator::Signals::new(STOP).context("cannot listen for signals")?;
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for _ in signals.forever() {
            say();
        }
    })?;
    Ok(())
}

/// Elsewhere the flag works without a word.
#[cfg(not(unix))]
fn announce(_say: impl Fn() + Send + 'static) -> anyhow::Result<()> {
    Ok(())
}
