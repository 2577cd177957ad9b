//! The runs of a study are processes of their own: what fails there ends that run alone.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::output::line;

/// Tells a process whose end is its own: the number of the process that started it.
const PARENT: &str = "LONGMAE_PARENT";
/// How often a process is looked at.
const PAUSE: Duration = Duration::from_millis(50);
/// How long the run of a study that was killed may take to finish its step and save.
const PATIENCE: Duration = Duration::from_secs(600);

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    Well,
    /// The study was asked to stop, and so was the process.
    Stopped,
}

/// The program, to be started with other arguments.
pub struct Program {
    pub command: Command,
    /// Whether mpirun stands in between.
    mpirun: bool,
}

impl Program {
    /// One process.
    pub fn alone() -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.env(PARENT, std::process::id().to_string());
        Ok(Self { command, mpirun: false })
    }

    /// So many processes, that mpirun starts.
    pub fn of_ranks(ranks: usize) -> anyhow::Result<Self> {
        if ranks == 1 {
            return Self::alone();
        }
        let mut command = Command::new("mpirun");
        command.args(["-n", &ranks.to_string(), "--oversubscribe", "--bind-to", "none"]);
        command.arg(std::env::current_exe()?);
        Ok(Self { command, mpirun: true })
    }

    /// Runs to the end, or asks it to stop when `stop` is raised; what it says goes into `log`, its output into `output` if
    /// that is named.
    pub fn run(
        mut self,
        log: &Path,
        output: Option<&Path>,
        stop: &AtomicBool,
    ) -> anyhow::Result<Ended> {
        let place = || log.display().to_string();
        let file = OpenOptions::new().create(true).append(true).open(log).with_context(place)?;
        let out = match output {
            Some(path) => File::create(path).with_context(|| path.display().to_string())?,
            None => file.try_clone().with_context(place)?,
        };
        let name = self.command.get_program().to_string_lossy().into_owned();
        // Ctrl-C is the study's to hand on: a second signal would end the process before it has saved.
        apart(&mut self.command);
        let child = self.command.stdin(Stdio::null()).stdout(out).stderr(file).spawn();
        let mut child = child.with_context(|| format!("cannot start {name}"))?;
        let mut asked = false;
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            if !asked && stop.load(Ordering::Relaxed) {
                asked = true;
                terminate(&mut child, self.mpirun)?;
            }
            std::thread::sleep(PAUSE);
        };
        if asked || stop.load(Ordering::Relaxed) {
            return Ok(Ended::Stopped);
        }
        check(status, log)
    }
}

#[cfg(unix)]
fn apart(command: &mut Command) {
    use std::os::unix::process::CommandExt;

    command.process_group(0);
}

#[cfg(not(unix))]
fn apart(_command: &mut Command) {}

/// A process that a study started is asked to stop when the study is killed: it saves, and the study can go on with it.
#[cfg(target_os = "linux")]
pub fn end_with_parent() {
    use rustix::process::{Signal, getppid, kill_process, set_parent_process_death_signal};

    let Some(parent) = std::env::var(PARENT).ok().and_then(|text| text.parse::<i32>().ok()) else {
        return;
    };
    // Without it the run only goes on for longer.
    let _ = set_parent_process_death_signal(Some(Signal::TERM));
    if getppid().is_none_or(|found| found.as_raw_nonzero().get() != parent) {
        let _ = kill_process(rustix::process::getpid(), Signal::TERM);
    }
}

/// Elsewhere it goes on to its end.
#[cfg(not(target_os = "linux"))]
pub fn end_with_parent() {}

fn check(status: ExitStatus, log: &Path) -> anyhow::Result<Ended> {
    if status.success() {
        return Ok(Ended::Well);
    }
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let last = text.lines().rev().find(|line| line.starts_with("error:"));
    let reason =
        last.map_or_else(|| status.to_string(), |line| line["error:".len()..].trim().to_owned());
    bail!("{reason} (see {})", log.display())
}

/// mpirun hands SIGUSR1 on and waits, where it kills its processes soon after SIGTERM.
#[cfg(unix)]
fn terminate(child: &mut std::process::Child, mpirun: bool) -> anyhow::Result<()> {
    use rustix::process::{Pid, Signal, kill_process};

    let signal = if mpirun { Signal::USR1 } else { Signal::TERM };
    // It may have ended just now.
    let _ = kill_process(Pid::from_child(child), signal);
    Ok(())
}

#[cfg(not(unix))]
fn terminate(child: &mut std::process::Child, _mpirun: bool) -> anyhow::Result<()> {
    Ok(child.kill()?)
}

/// Waits until no process trains in a run's folder any more, such as that of a study that was killed a moment ago.
pub fn wait_for(recipe: &Path, stop: &AtomicBool) -> anyhow::Result<()> {
    let Ok(file) = File::open(recipe) else { return Ok(()) };
    let began = Instant::now();
    let mut told = false;
    while let Err(TryLockError::WouldBlock) = file.try_lock() {
        let folder = recipe.parent().unwrap_or(recipe).display();
        if began.elapsed() > PATIENCE {
            bail!("another process is still training in {folder}");
        }
        if stop.load(Ordering::Relaxed) {
            break;
        }
        if !told {
            line(format!("waiting for the process that still trains in {folder}"));
            told = true;
        }
        std::thread::sleep(PAUSE);
    }
    Ok(())
}
