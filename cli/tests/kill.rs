//! A run that is killed again and again ends as if it had never been.
#![cfg(unix)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use common::{SMALL, losses, program, small, succeeds};

/// Accumulation, drop path, averaged weights, several epochs; a checkpoint every second step.
const RUN: [&str; 19] = [
    "--data",
    "demo",
    "--repeat",
    "4",
    "--epochs",
    "4",
    "--accum-iter",
    "2",
    "--drop-path",
    "0.2",
    "--clip-grad",
    "1",
    "--val-share",
    "0.2",
    "--save-every",
    "2",
    "--ema",
    "0.9",
    "--flip",
];

/// A sequence that looks random and is the same every time (the step of `SplitMix64`).
struct Draws(u64);

impl Draws {
    /// From 0 to 1.
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// What a run ends with: its losses, and the bytes of its tensors.
#[derive(PartialEq)]
struct Ending {
    losses: Vec<(u64, f64)>,
    encoder: Vec<u8>,
    model: Vec<u8>,
    optimizer: Vec<u8>,
    average: Vec<u8>,
}

impl Ending {
    fn of(run: &Path) -> Self {
        let steps = losses(run);
        let last = steps.last().unwrap().0;
        let checkpoint = run.join(format!("checkpoints/step-{last:08}"));
        Self {
            losses: steps,
            encoder: tensors(&run.join("encoder.safetensors")),
            model: tensors(&checkpoint.join("model.safetensors")),
            optimizer: tensors(&checkpoint.join("optimizer.safetensors")),
            average: tensors(&checkpoint.join("ema.safetensors")),
        }
    }
}

/// A safetensors file without its header, which tells of the run.
fn tensors(path: &Path) -> Vec<u8> {
    let bytes = fs::read(path).unwrap();
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    bytes[8 + header..].to_vec()
}

/// What was found after the kills.
#[derive(Debug, Default)]
struct Found {
    before_the_recipe: usize,
    before_a_checkpoint: usize,
    half_a_checkpoint: usize,
    between_checkpoints: usize,
    /// Runs that came to their end.
    runs: usize,
}

/// The runs that are killed; one after the other, since each makes progress and ends some time.
struct Victim<'a> {
    folder: &'a Path,
    more: &'a [&'a str],
    expected: Ending,
    found: Found,
}

impl Victim<'_> {
    fn name(&self) -> String {
        format!("run-{}", self.found.runs)
    }

    fn run(&self) -> PathBuf {
        self.folder.join(self.name())
    }

    fn start(&self) -> Child {
        let name = self.name();
        let mut command = program();
        command.current_dir(self.folder).args(SMALL).args(RUN).args(self.more);
        command.args(["--resume", "auto", "--out", &name]);
        command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Lets a session live for a time; tells whether it was killed and did not end before.
    fn session(&mut self, life: Duration) -> bool {
        let mut child = self.start();
        std::thread::sleep(life);
        child.kill().unwrap();
        let output = child.wait_with_output().unwrap();
        let killed = was_killed(output.status);
        if killed {
            self.look();
        } else {
            assert!(output.status.success(), "{}", common::stderr(&output));
            self.compare();
        }
        killed
    }

    /// Counts the state in which a killed session left its folder.
    fn look(&mut self) {
        let run = self.run();
        let saved: Vec<String> = fs::read_dir(run.join("checkpoints")).map_or(Vec::new(), |all| {
            all.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
        });
        let last = saved.iter().filter_map(|name| name.strip_prefix("step-")?.parse().ok()).max();
        let lines = fs::read_to_string(run.join("metrics.jsonl")).unwrap_or_default();
        let steps = lines.lines().filter(|line| line.contains("\"train\"")).count() as u64;
        let found = &mut self.found;
        if !run.join("recipe.toml").exists() {
            found.before_the_recipe += 1;
        } else if saved.iter().any(|name| name.starts_with('.')) {
            found.half_a_checkpoint += 1;
        } else if last.is_none() {
            found.before_a_checkpoint += 1;
        } else if last < Some(steps) {
            found.between_checkpoints += 1;
        }
    }

    /// A run that came to its end must equal the one that was never killed; the next kills are for another one.
    fn compare(&mut self) {
        let run = self.run();
        let ending = Ending::of(&run);
        assert_eq!(ending.losses, self.expected.losses, "losses of {}", run.display());
        assert!(ending == self.expected, "tensors of {}", run.display());
        for folder in [run.clone(), run.join("checkpoints"), run.join("reconstructions")] {
            let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
            let left: Vec<_> =
                names.filter(|name| name.to_string_lossy().contains("tmp")).collect();
            assert!(left.is_empty(), "half-written files stay: {left:?}");
        }
        self.found.runs += 1;
    }
}

fn was_killed(status: ExitStatus) -> bool {
    std::os::unix::process::ExitStatusExt::signal(&status) == Some(9)
}

fn kill_and_compare(kills: usize, seed: u64, more: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let whole = |name| [&RUN[..], more, &["--out", name]].concat();
    succeeds(&small(folder.path(), &whole("warm")));
    let began = Instant::now();
    succeeds(&small(folder.path(), &whole("whole")));
    let length = began.elapsed();
    let expected = Ending::of(&folder.path().join("whole"));
    let mut victim = Victim { folder: folder.path(), more, expected, found: Found::default() };
    let mut draws = Draws(seed);
    let mut done = 0;
    while done < kills {
        // Half of them early, where every session passes and little is left once much is done.
        let share = if draws.next() < 0.5 { 0.3 } else { 1.0 };
        done += usize::from(victim.session(length.mul_f64(share * draws.next())));
    }
    // The last one is let go on to its end.
    let output = victim.start().wait_with_output().unwrap();
    succeeds(&output);
    victim.compare();
    let found = &victim.found;
    #[expect(clippy::print_stderr, reason = "how well the kills were spread is worth a look")]
    {
        eprintln!("{kills} kills within {length:?}: {found:?}");
    }
    let hit = found.before_a_checkpoint + found.half_a_checkpoint + found.between_checkpoints;
    assert!(hit >= kills / 4, "the kills hit next to nothing: {found:?}");
    assert!(kills < 50 || found.half_a_checkpoint > 0, "no kill hit a save: {found:?}");
}

#[test]
fn fifty_kills_change_nothing() {
    kill_and_compare(50, 1, &[]);
}

#[test]
fn kills_change_nothing_in_bf16() {
    kill_and_compare(12, 2, &["--precision", "bf16", "--save-every", "1"]);
}

/// The moments that kills at random hit rarely.
#[test]
fn a_run_killed_while_its_recipe_was_written_starts_again() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    fs::create_dir(&run).unwrap();
    fs::write(run.join("recipe.toml.tmp"), "data = \"de").unwrap();
    let args = ["--data", "demo", "--max-steps", "2", "--resume", "auto", "--out", "run"];
    succeeds(&small(folder.path(), &args));
    assert_eq!(losses(&run).len(), 2);
    assert!(!run.join("recipe.toml.tmp").exists());
}

/// A stopped process is no dead one: its lock holds.
#[test]
fn a_run_that_is_only_stopped_cannot_be_resumed_beside_itself() {
    let folder = tempfile::tempdir().unwrap();
    let args = ["--data", "demo", "--epochs", "100000", "--out", "run"];
    let mut command = program();
    let mut child = command
        .current_dir(folder.path())
        .args(SMALL)
        .args(args)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let began = Instant::now();
    while !folder.path().join("run/metrics.jsonl").exists() {
        assert!(began.elapsed() < Duration::from_secs(100), "no step was done");
        std::thread::sleep(Duration::from_millis(20));
    }
    Command::new("kill").args(["-STOP", &child.id().to_string()]).status().unwrap();
    let refused = common::pretrain(folder.path(), &["--resume", "run"]);
    child.kill().unwrap();
    child.wait().unwrap();
    common::fails(&refused, 1, &["another process is training in run"]);
}
