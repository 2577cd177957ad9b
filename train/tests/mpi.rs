//! Ranks that mpirun starts: this test program, once for each, in one of the roles below.
#![allow(
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a skipped test says so, and ranks are heard by what they print"
)]

use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use candle_core::{Device, Tensor, Var};
use longmae_train::{Collective, Status, mpi};

const ROLE: &str = "LONGMAE_MPI_ROLE";
const FOLDER: &str = "LONGMAE_MPI_FOLDER";

/// In which all ranks must have ended after one of them did.
const SOON: Duration = Duration::from_secs(30);

/// Runs a role on so many ranks; `meanwhile` gets the folder that they share. None without mpirun.
fn mpirun(ranks: usize, role: &str, meanwhile: impl FnOnce(&str)) -> Option<Output> {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().to_str().unwrap();
    let started = Command::new("mpirun")
        .args(["-n", &ranks.to_string(), "--oversubscribe", "--bind-to", "none"])
        .arg(env::current_exe().unwrap())
        .args(["--ignored", "--exact", "as_a_rank", "--nocapture"])
        .envs([("OMPI_ALLOW_RUN_AS_ROOT", "1"), ("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1")])
        .envs([(ROLE, role), (FOLDER, folder)])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    match started {
        Ok(run) => {
            meanwhile(folder);
            Some(run.wait_with_output().unwrap())
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            eprintln!("skipped: no mpirun");
            None
        }
        Err(error) => panic!("mpirun: {error}"),
    }
}

/// Both streams of a run.
fn text(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes)).concat()
}

fn assert_success(output: &Output) {
    assert!(output.status.success(), "{}", text(output));
}

/// A failing run ends soon, and says what it must.
fn assert_failure(output: &Output, began: Instant, expected: &[&str]) {
    let text = text(output);
    assert!(!output.status.success(), "{text}");
    assert!(began.elapsed() < SOON, "after {:?}: {text}", began.elapsed());
    for expected in expected {
        assert!(text.contains(expected), "no `{expected}` in: {text}");
    }
}

#[test]
#[ignore = "a rank that mpirun starts"]
fn as_a_rank() {
    let role = env::var(ROLE).expect("started by one of the tests here");
    let limit = if role == "late" { Duration::from_secs(1) } else { mpi::USUAL_LIMIT };
    let ranks = mpi::connect(limit).unwrap();
    match role.as_str() {
        "talk" => talk(&ranks),
        "bits" => bits(&ranks),
        "agree" => agree(&ranks),
        "wait" => wait(&ranks),
        "panic" => panics(&ranks),
        "abort" => aborts(&ranks),
        "late" => late(&ranks),
        other => panic!("no role {other}"),
    }
}

/// Everything that goes right.
fn talk(ranks: &Arc<dyn Collective>) {
    let (rank, world) = (ranks.rank(), ranks.world());
    assert_eq!(world, 3);
    let tensor = |i: usize| Tensor::full((rank + i) as f32, (2, 3), &Device::Cpu).unwrap();
    let pending: Vec<_> = (0..4).map(|i| ranks.start_sum(tensor(i)).unwrap()).collect();
    for (i, pending) in pending.into_iter().enumerate() {
        let sum = pending.wait().unwrap().to_vec2::<f32>().unwrap();
        assert_eq!(sum, vec![vec![3.0 + 3.0 * i as f32; 3]; 2]);
    }
    let mut numbers = [rank as f64, 1e-9];
    ranks.sum(&mut numbers).unwrap();
    assert_eq!(numbers, [3.0, 1e-9 + 1e-9 + 1e-9]);
    let var = Var::from_tensor(&tensor(5)).unwrap();
    ranks.broadcast(std::slice::from_ref(&var)).unwrap();
    assert_eq!(var.to_vec2::<f32>().unwrap(), vec![vec![5.0; 3]; 2]);
    let bytes = ranks.broadcast_bytes(vec![rank as u8; 3 + rank]).unwrap();
    assert_eq!(bytes, [0, 0, 0]);
    let all = ranks.gather_bytes(vec![rank as u8; rank]).unwrap();
    assert_eq!(all, [vec![], vec![1], vec![2, 2]]);
    let narrow = tensor(0).to_dtype(candle_core::DType::F64).unwrap();
    assert!(ranks.start_sum(narrow).is_err());
}

#[test]
fn all_ranks_hear_each_other() {
    if let Some(output) = mpirun(3, "talk", |_| ()) {
        assert_success(&output);
    }
}

/// Prints a digest of the sum of buckets of several sizes, which is the same on all ranks.
fn bits(ranks: &Arc<dyn Collective>) {
    let mut digest = 0_u64;
    for count in [10, 3_001, 6_553_600] {
        let number = |i: usize| ((i * 7919 + ranks.rank() * 31) % 10_007) as f32 * 1e-3 - 3.3;
        let own = Tensor::from_vec((0..count).map(number).collect::<Vec<_>>(), count, &Device::Cpu);
        // Ranks come at different times.
        thread::sleep(Duration::from_millis(ranks.rank() as u64 * 20));
        let sum = ranks.start_sum(own.unwrap()).unwrap().wait().unwrap();
        for x in sum.to_vec1::<f32>().unwrap() {
            digest = digest.rotate_left(5).wrapping_mul(31) ^ u64::from(x.to_bits());
        }
    }
    let all = ranks.gather_bytes(digest.to_le_bytes().to_vec()).unwrap();
    assert!(all.iter().all(|other| *other == all[0]), "ranks differ: {all:?}");
    if ranks.rank() == 0 {
        println!("digest={digest}.");
    }
}

#[test]
fn sums_have_the_same_bits_in_every_run() {
    let digest = || {
        let output = mpirun(3, "bits", |_| ())?;
        assert_success(&output);
        let text = text(&output);
        Some(text.split("digest=").nth(1)?.split('.').next()?.to_owned())
    };
    if let Some(first) = digest() {
        assert_eq!(Some(first), digest());
    }
}

/// A failure of which rank 1 tells the others: all end on their own.
fn agree(ranks: &Arc<dyn Collective>) {
    let failure = (ranks.rank() == 1).then(|| "no more disk".to_owned());
    let error = Status { failure, ..Status::default() }.agree(&**ranks).unwrap_err();
    assert!(!error.lost());
    assert_eq!(error.to_string(), "rank 1 failed: no more disk");
}

#[test]
fn a_failure_that_is_told_ends_all_without_an_abort() {
    if let Some(output) = mpirun(2, "agree", |_| ()) {
        assert_success(&output);
    }
}

/// Waits for rank 1, which sleeps until it is killed.
fn wait(ranks: &Arc<dyn Collective>) {
    if ranks.rank() == 1 {
        let path = format!("{}/pid", env::var(FOLDER).unwrap());
        fs::write(format!("{path}.tmp"), std::process::id().to_string()).unwrap();
        fs::rename(format!("{path}.tmp"), path).unwrap();
        thread::sleep(2 * SOON);
    }
    ranks.sum(&mut [1.0]).unwrap();
}

#[test]
fn a_killed_rank_ends_the_others() {
    let mut killed = Instant::now();
    let output = mpirun(2, "wait", |folder| {
        let path = format!("{folder}/pid");
        let pid = loop {
            match fs::read_to_string(&path) {
                Ok(pid) => break pid,
                Err(_) => thread::sleep(Duration::from_millis(50)),
            }
            assert!(killed.elapsed() < SOON, "rank 1 did not start");
        };
        thread::sleep(Duration::from_millis(300));
        killed = Instant::now();
        let kill = Command::new("sh").args(["-c", &format!("kill -9 {pid}")]).status();
        assert!(kill.unwrap().success());
    });
    if let Some(output) = output {
        assert_failure(&output, killed, &["signal 9"]);
    }
}

/// Rank 1 panics while the others wait for it.
fn panics(ranks: &Arc<dyn Collective>) {
    assert_ne!(ranks.rank(), 1, "planted");
    ranks.sum(&mut [1.0]).unwrap();
}

#[test]
fn a_panic_ends_all() {
    let began = Instant::now();
    if let Some(output) = mpirun(2, "panic", |_| ()) {
        assert_failure(&output, began, &["planted"]);
    }
}

/// Rank 1 fails where the others do not ask for it.
fn aborts(ranks: &Arc<dyn Collective>) {
    if ranks.rank() == 1 {
        eprintln!("the reason");
        ranks.abort();
    }
    ranks.sum(&mut [1.0]).unwrap();
}

#[test]
fn an_abort_ends_all() {
    let began = Instant::now();
    if let Some(output) = mpirun(2, "abort", |_| ()) {
        assert_failure(&output, began, &["the reason"]);
    }
}

/// Rank 1 hangs; rank 0 waits no longer than its limit.
fn late(ranks: &Arc<dyn Collective>) {
    if ranks.rank() == 1 {
        thread::sleep(2 * SOON);
    }
    let error = ranks.sum(&mut [1.0]).unwrap_err();
    assert!(error.lost());
    eprintln!("{error}");
    ranks.abort();
}

#[test]
fn a_rank_that_hangs_is_lost_after_the_limit() {
    let began = Instant::now();
    if let Some(output) = mpirun(2, "late", |_| ()) {
        assert_failure(&output, began, &["rank 0 of 2 lost the others: no answer in 1 s"]);
    }
}

#[test]
fn without_mpirun_a_process_is_alone() {
    let ranks = mpi::connect(mpi::USUAL_LIMIT).unwrap();
    assert_eq!((ranks.rank(), ranks.world()), (0, 1));
}
