//! `mae-pretrain` on two ranks, as mpirun starts it (feature `mpi`).
#![cfg(feature = "mpi")]
#![allow(clippy::print_stderr, reason = "a skipped test says so")]

mod common;

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use common::{SMALL, losses, records, small, stderr, stdout, succeeds};

/// Starts two ranks of a small run in `folder`; none without mpirun.
fn two(folder: &Path, args: &[&str]) -> Option<Child> {
    let started = Command::new("mpirun")
        .args(["-n", "2", "--oversubscribe", "--bind-to", "none"])
        .arg(env!("CARGO_BIN_EXE_mae-pretrain"))
        .args(SMALL)
        .args(args)
        .current_dir(folder)
        .envs([("OMPI_ALLOW_RUN_AS_ROOT", "1"), ("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1")])
        .env("RAYON_NUM_THREADS", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    match started {
        Ok(run) => Some(run),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            eprintln!("skipped: no mpirun");
            None
        }
        Err(error) => panic!("mpirun: {error}"),
    }
}

fn ends(run: Child) -> Output {
    run.wait_with_output().unwrap()
}

/// Waits until a run has done so many steps.
fn wait_for_steps(run: &mut Child, folder: &Path, steps: usize) {
    let began = Instant::now();
    while fs::read_to_string(folder.join("metrics.jsonl")).map_or(0, |text| text.lines().count())
        < steps
    {
        assert!(began.elapsed() < Duration::from_secs(100), "too few steps");
        assert!(run.try_wait().unwrap().is_none(), "the run ended by itself");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The processes that mpirun started.
fn ranks_of(run: &Child) -> Vec<String> {
    let output = Command::new("pgrep").args(["-P", &run.id().to_string()]).output().unwrap();
    stdout(&output).lines().map(str::to_owned).collect()
}

#[test]
fn two_ranks_are_one_process_with_twice_the_accumulation() {
    let folder = tempfile::tempdir().unwrap();
    let run = [
        "--data",
        "demo",
        "--repeat",
        "20",
        "--max-steps",
        "20",
        "--epochs",
        "9",
        "--val-share",
        "0.25",
    ];
    let Some(together) = two(folder.path(), &[&run[..], &["--out", "two"]].concat()) else {
        return;
    };
    let said = succeeds(&ends(together));
    assert!(said.contains(", 2 ranks"), "{said}");
    succeeds(&small(folder.path(), &[&run[..], &["--out", "one", "--accum-iter", "2"]].concat()));
    let [two, one] = ["two", "one"].map(|name| folder.path().join(name));
    let (of_two, of_one) = (losses(&two), losses(&one));
    assert_eq!(of_two.len(), 20);
    for (two, one) in of_two.iter().zip(&of_one) {
        assert!(two.0 == one.0 && (two.1 - one.1).abs() < 1e-6, "{two:?} {one:?}");
    }
    // The rate follows the effective batch, validation is shared.
    let [rates, evals] = ["lr", "loss"].map(|key| {
        [&two, &one].map(|run| {
            let kind = if key == "lr" { "train" } else { "eval" };
            records(run, kind)
                .iter()
                .map(|record| record[key].as_f64().unwrap())
                .collect::<Vec<_>>()
        })
    });
    assert_eq!(rates[0], rates[1]);
    assert!(!evals[0].is_empty());
    for (two, one) in evals[0].iter().zip(&evals[1]) {
        assert!((two - one).abs() < 1e-5, "{two} {one}");
    }
}

#[test]
fn a_killed_rank_ends_the_other() {
    let folder = tempfile::tempdir().unwrap();
    let args = ["--data", "demo", "--epochs", "100000", "--out", "run"];
    let Some(mut run) = two(folder.path(), &args) else { return };
    wait_for_steps(&mut run, &folder.path().join("run"), 5);
    let ranks = ranks_of(&run);
    assert_eq!(ranks.len(), 2, "{ranks:?}");
    let began = Instant::now();
    assert!(Command::new("kill").args(["-KILL", &ranks[1]]).status().unwrap().success());
    let output = ends(run);
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    assert!(
        !output.status.success() && stderr(&output).contains("signal 9"),
        "{}",
        stderr(&output)
    );
    while ranks.iter().any(|rank| computes(rank)) {
        assert!(began.elapsed() < Duration::from_secs(30), "a rank is left");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Whether a process is there, and not only waits for somebody to take notice of its end.
fn computes(process: &str) -> bool {
    let status = Command::new("ps").args(["-o", "stat=", "-p", process]).output().unwrap();
    let status = stdout(&status);
    !status.trim().is_empty() && !status.trim().starts_with('Z')
}

#[test]
fn a_signal_saves_and_the_run_goes_on_to_the_same_end() {
    let folder = tempfile::tempdir().unwrap();
    let run = ["--data", "demo", "--repeat", "100", "--epochs", "2", "--resume", "auto"];
    let args = |out: &'static str| [&run[..], &["--out", out]].concat();
    let Some(whole) = two(folder.path(), &args("whole")) else { return };
    succeeds(&ends(whole));
    let mut cut = two(folder.path(), &args("cut")).unwrap();
    wait_for_steps(&mut cut, &folder.path().join("cut"), 20);
    assert!(
        Command::new("kill").args(["-USR1", &cut.id().to_string()]).status().unwrap().success()
    );
    let said = succeeds(&ends(cut));
    assert!(said.contains("stopped after step"), "{said}");
    succeeds(&ends(two(folder.path(), &args("cut")).unwrap()));
    let [whole, cut] = ["whole", "cut"].map(|run| losses(&folder.path().join(run)));
    assert_eq!(whole, cut);
    // One process alone is another run.
    let output = small(folder.path(), &[&args("cut")[..], &["--resume", "cut"]].concat());
    common::fails(&output, 1, &["ranks was 2, now 1"]);
}

#[test]
fn a_rank_that_cannot_begin_ends_all_with_its_reason() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("empty")).unwrap();
    let args = ["--data", "empty", "--out", "run"];
    let Some(run) = two(folder.path(), &args) else { return };
    let began = Instant::now();
    let output = ends(run);
    assert!(began.elapsed() < Duration::from_secs(30));
    assert!(!output.status.success() && stderr(&output).contains("empty"), "{}", stderr(&output));
    assert!(!folder.path().join("run").exists());
}
