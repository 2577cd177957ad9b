//! Running the programs.
#![allow(dead_code, reason = "each test file uses a part")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

/// A model that takes seconds: 32 x 32 pictures in 16 patches.
pub const SMALL: [&str; 16] = [
    "--model",
    "vit-nano",
    "--image-size",
    "32",
    "--patch-size",
    "8",
    "--mask-unit",
    "2",
    "--batch-size",
    "4",
    "--lr",
    "1e-3",
    "--workers",
    "1",
    "--decoder-depth",
    "1",
];

/// `mae-pretrain`, one thread: several tests run at once.
pub fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mae-pretrain"));
    command.env("RAYON_NUM_THREADS", "1").env_remove("RUST_BACKTRACE");
    command
}

/// `longmae`.
pub fn longmae(args: &[&str]) -> Output {
    longmae_command(args).output().unwrap()
}

pub fn longmae_command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_longmae"));
    command.args(args);
    command
}

/// Runs `mae-pretrain` in `folder` with these arguments.
pub fn pretrain(folder: &Path, args: &[&str]) -> Output {
    program().current_dir(folder).args(args).output().unwrap()
}

/// Runs with [`SMALL`] and more.
pub fn small(folder: &Path, args: &[&str]) -> Output {
    let all: Vec<&str> = SMALL.into_iter().chain(args.iter().copied()).collect();
    pretrain(folder, &all)
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Asserts success and gives what was printed.
#[track_caller]
pub fn succeeds(output: &Output) -> String {
    assert!(output.status.success(), "{}\n{}", stdout(output), stderr(output));
    stdout(output)
}

/// Asserts failure with this code, in one or two lines that hold all of `parts`, without a panic.
#[track_caller]
pub fn fails(output: &Output, code: i32, parts: &[&str]) {
    let text = stderr(output);
    assert_eq!(output.status.code(), Some(code), "{}\n{text}", stdout(output));
    assert!(!text.contains("panicked"), "{text}");
    for part in parts {
        assert!(text.contains(part), "`{part}` is not in: {text}");
    }
    let errors: Vec<&str> =
        text.lines().filter(|line| !line.trim().is_empty() && !line.contains("WARN")).collect();
    // The argument parser's own errors add a hint and how to get help.
    let most = if text.contains("--help") { 7 } else { 2 };
    assert!(errors.len() <= most, "too many lines: {text}");
    assert!(errors[0].starts_with("error:"), "{text}");
}

/// The records of a kind in a run's `metrics.jsonl`.
pub fn records(run: &Path, kind: &str) -> Vec<Value> {
    let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let records = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    records.filter(|record| record["kind"] == kind).collect()
}

/// Step and loss of each training step.
pub fn losses(run: &Path) -> Vec<(u64, f64)> {
    let all = records(run, "train");
    all.iter().map(|r| (r["step"].as_u64().unwrap(), r["loss"].as_f64().unwrap())).collect()
}

/// The demo photographs as files.
pub fn photographs() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../data/demo");
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "jpg"))
        .collect();
    files.sort();
    files
}

/// Copies the demo photographs into a new folder `images` below `parent`.
pub fn image_folder(parent: &Path) -> PathBuf {
    let folder = parent.join("images");
    fs::create_dir(&folder).unwrap();
    for file in photographs() {
        fs::copy(&file, folder.join(file.file_name().unwrap())).unwrap();
    }
    folder
}

/// Classes that the demo photographs are dealt out to.
pub const CLASSES: [&str; 3] = ["ant", "bee", "cat"];

/// A folder of class folders with the demo photographs, those of a class left out if it is not named.
pub fn class_folder(folder: &Path, name: &str, classes: &[&str]) {
    for (number, file) in photographs().iter().enumerate() {
        let class = CLASSES[number % CLASSES.len()];
        if classes.contains(&class) {
            let place = folder.join(name).join(class);
            fs::create_dir_all(&place).unwrap();
            fs::copy(file, place.join(file.file_name().unwrap())).unwrap();
        }
    }
}
