//! `mae-pretrain` on two ranks that torchrun's variables name.

mod common;

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use common::{SMALL, fails, losses, program, small, stderr, succeeds};

/// In which a rank must have ended after the other did.
const SOON: Duration = Duration::from_secs(30);

/// A program as rank `rank` of two.
fn rank(folder: &Path, rank: usize, port: u16) -> Command {
    let mut command = program();
    command
        .current_dir(folder)
        .args(SMALL)
        .envs([("WORLD_SIZE", "2"), ("MASTER_ADDR", "127.0.0.1")])
        .envs([("RANK", rank.to_string()), ("MASTER_PORT", port.to_string())])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

/// Starts both ranks of a small run.
fn two(folder: &Path, args: &[&str]) -> [Child; 2] {
    let port = free_port();
    [0, 1].map(|number| rank(folder, number, port).args(args).spawn().unwrap())
}

fn ends(ranks: [Child; 2]) -> [Output; 2] {
    ranks.map(|rank| rank.wait_with_output().unwrap())
}

#[test]
fn two_ranks_are_one_process_with_twice_the_accumulation() {
    let folder = tempfile::tempdir().unwrap();
    let run = ["--data", "demo", "--repeat", "20", "--max-steps", "10", "--epochs", "9"];
    let [first, second] = ends(two(folder.path(), &[&run[..], &["--out", "two"]].concat()));
    let said = succeeds(&first);
    assert!(said.contains(", 2 ranks"), "{said}");
    // Rank 0 alone has the terminal.
    assert_eq!(succeeds(&second), "");
    succeeds(&small(folder.path(), &[&run[..], &["--out", "one", "--accum-iter", "2"]].concat()));
    let [two, one] = ["two", "one"].map(|name| losses(&folder.path().join(name)));
    assert_eq!(two.len(), 10);
    for (two, one) in two.iter().zip(&one) {
        assert!(two.0 == one.0 && (two.1 - one.1).abs() < 1e-6, "{two:?} {one:?}");
    }
}

#[test]
fn a_killed_rank_ends_the_other() {
    let folder = tempfile::tempdir().unwrap();
    for killed in [0, 1] {
        let out = format!("run-{killed}");
        let args = ["--data", "demo", "--epochs", "100000", "--out", &out];
        let mut ranks = two(folder.path(), &args);
        let metrics = folder.path().join(&out).join("metrics.jsonl");
        let began = Instant::now();
        while fs::read_to_string(&metrics).map_or(0, |text| text.lines().count()) < 3 {
            assert!(began.elapsed() < Duration::from_secs(100), "too few steps");
            assert!(ranks.iter_mut().all(|rank| rank.try_wait().unwrap().is_none()));
            std::thread::sleep(Duration::from_millis(20));
        }
        let began = Instant::now();
        ranks[killed].kill().unwrap();
        let other = &ends(ranks)[1 - killed];
        assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
        let expected = format!("rank {} of 2 lost the others: rank {killed} closed", 1 - killed);
        assert_eq!(other.status.code(), Some(1));
        assert!(stderr(other).contains(&expected), "{}", stderr(other));
    }
}

#[test]
fn variables_that_make_no_sense_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let args = ["--data", "demo", "--out", "run"];
    let run = |change: &dyn Fn(&mut Command)| {
        let mut command = rank(folder.path(), 0, 29_500);
        command.args(args);
        change(&mut command);
        command.output().unwrap()
    };
    let missing = run(&|command| {
        command.env_remove("MASTER_PORT");
    });
    fails(&missing, 1, &["MASTER_PORT is not set", "RANK, WORLD_SIZE"]);
    let wrong = run(&|command| {
        command.env("RANK", "2");
    });
    fails(&wrong, 1, &["RANK is 2, expected a number below WORLD_SIZE, which is 2"]);
    let both = run(&|command| {
        command.env("OMPI_COMM_WORLD_SIZE", "4");
    });
    fails(&both, 1, &["OMPI_COMM_WORLD_SIZE", "WORLD_SIZE", "unset RANK"]);
    assert!(!folder.path().join("run").exists());
}
