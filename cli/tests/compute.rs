//! How a run computes: kernels, precision, checkpointing, threads, instruction sets.

mod common;

use std::fs;
use std::path::Path;

use common::{SMALL, fails, losses, program, small, succeeds};

/// The losses of six steps with more arguments and an environment variable.
fn run(folder: &Path, name: &str, args: &[&str], variable: (&str, &str)) -> Vec<(u64, f64)> {
    let output = program()
        .current_dir(folder)
        .env(variable.0, variable.1)
        .args(SMALL)
        .args(["--data", "demo", "--max-steps", "6", "--out", name])
        .args(args)
        .output()
        .unwrap();
    succeeds(&output);
    losses(&folder.join(name))
}

const PLAIN: (&str, &str) = ("RAYON_NUM_THREADS", "1");

#[test]
fn threads_and_checkpointing_change_no_bit() {
    let folder = tempfile::tempdir().unwrap();
    for precision in ["fp32", "bf16"] {
        let given = ["--precision", precision];
        let one = run(folder.path(), &format!("{precision}-one"), &given, PLAIN);
        let three = ("RAYON_NUM_THREADS", "3");
        assert_eq!(one, run(folder.path(), &format!("{precision}-three"), &given, three));
        let again = [given[0], given[1], "--grad-checkpoint"];
        assert_eq!(one, run(folder.path(), &format!("{precision}-again"), &again, PLAIN));
        let encoder = |run: &str| {
            let path = folder.path().join(format!("{precision}-{run}/encoder.safetensors"));
            let bytes = fs::read(path).unwrap();
            // The header tells settings, which differ.
            let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
            bytes[8 + header..].to_vec()
        };
        assert!(encoder("one") == encoder("three") && encoder("one") == encoder("again"));
    }
}

#[test]
fn kernels_and_precisions_stay_near() {
    let folder = tempfile::tempdir().unwrap();
    let fused = run(folder.path(), "fused", &[], PLAIN);
    for (name, args, allowed) in
        [("reference", ["--kernels", "reference"], 1e-4), ("half", ["--precision", "bf16"], 0.02)]
    {
        for (found, expected) in run(folder.path(), name, &args, PLAIN).iter().zip(&fused) {
            let off = (found.1 / expected.1 - 1.0).abs();
            assert!(off < allowed, "{name}: {found:?}, expected {expected:?}");
        }
    }
}

#[test]
fn the_log_tells_kernels_and_instruction_set() {
    let folder = tempfile::tempdir().unwrap();
    run(folder.path(), "low", &[], ("LONGMAE_ISA", "portable"));
    let log = fs::read_to_string(folder.path().join("low/log.txt")).unwrap();
    assert_eq!(log.matches("fused kernels on portable, fp32").count(), 1, "{log}");
}

#[test]
fn an_instruction_set_that_is_none_is_a_usage_error() {
    let folder = tempfile::tempdir().unwrap();
    let output = program().current_dir(folder.path()).env("LONGMAE_ISA", "mmx").output().unwrap();
    fails(&output, 2, &["LONGMAE_ISA `mmx`", "portable, avx2, avx512, avx512bf16 or amx"]);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_run_in_bf16_resumes_to_the_bit() {
    let folder = tempfile::tempdir().unwrap();
    let args = ["--data", "demo", "--precision", "bf16", "--epochs", "2", "--save-every", "2"];
    let whole = [&args[..], &["--out", "whole"]].concat();
    succeeds(&small(folder.path(), &whole));
    // Throwing away what came after a checkpoint is what a kill leaves.
    let cut = [&args[..], &["--out", "cut"]].concat();
    succeeds(&small(folder.path(), &cut));
    let checkpoints = folder.path().join("cut/checkpoints");
    let last = losses(&folder.path().join("whole")).len();
    fs::remove_dir_all(checkpoints.join(format!("step-{last:08}"))).unwrap();
    succeeds(&small(folder.path(), &["--resume", "cut"]));
    let (whole, cut) = (folder.path().join("whole"), folder.path().join("cut"));
    assert_eq!(losses(&whole), losses(&cut));
    let encoder = |run: &Path| fs::read(run.join("encoder.safetensors")).unwrap();
    assert!(encoder(&whole) == encoder(&cut));
}
