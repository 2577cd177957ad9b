//! Classifiers of timm's evaluated here, and those trained here loaded by timm (`tests/interop/classifier.py`).

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use common::{longmae_command, small, succeeds};
use serde_json::Value;

const CLASSES: [&str; 3] = ["ant", "bee", "cat"];
/// Largest difference of a probability, of images as they are.
const EXACT: f64 = 2e-5;
/// Of images that are resized, which differ by up to a few grey levels.
const RESIZED: f64 = 5e-3;

/// The interpreter that `LONGMAE_PYTHON` names; none, and it is said, if the variable is not set.
#[allow(clippy::print_stderr, reason = "a skipped test says so")]
fn python() -> Option<PathBuf> {
    let python = std::env::var_os("LONGMAE_PYTHON").filter(|path| !path.is_empty());
    if python.is_none() {
        eprintln!("skipped: set LONGMAE_PYTHON to a Python with tests/interop/requirements.txt");
    }
    python.map(PathBuf::from)
}

fn script(python: &Path, args: &[&str]) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/interop/classifier.py");
    succeeds(&Command::new(python).arg(script).args(args).output().unwrap())
}

fn run(folder: &Path, args: &[&str]) -> Output {
    longmae_command(args).current_dir(folder).output().unwrap()
}

type Probabilities = BTreeMap<String, Vec<f64>>;

/// The probabilities of each image in `predictions.jsonl`, by class.
fn predictions(folder: &Path) -> Probabilities {
    let text = fs::read_to_string(folder.join("predictions.jsonl")).unwrap();
    let of = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap();
        let top = line["top5"].as_array().unwrap();
        let share = |class: &&str| {
            let found = top.iter().find(|entry| entry[0] == **class).unwrap();
            found[1].as_f64().unwrap()
        };
        (line["id"].as_str().unwrap().to_owned(), CLASSES.iter().map(share).collect())
    };
    text.lines().map(of).collect()
}

fn best(shares: &[f64]) -> usize {
    let all = shares.iter().copied().enumerate();
    all.max_by(|a, b| a.1.total_cmp(&b.1)).unwrap().0
}

/// The same probabilities, and so the same classes; at least two of which are told.
fn assert_same(ours: &Probabilities, theirs: &Probabilities, tolerance: f64) {
    assert_eq!(ours.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>());
    for (id, shares) in ours {
        let other = &theirs[id];
        for (a, b) in shares.iter().zip(other) {
            assert!((a - b).abs() < tolerance, "{id}: {shares:?} here, {other:?} by timm");
        }
        assert_eq!(best(shares), best(other), "{id}");
    }
    let told: std::collections::BTreeSet<_> = ours.values().map(|shares| best(shares)).collect();
    assert!(told.len() > 1, "one class for all images shows nothing");
}

#[test]
fn timms_classifiers_do_as_well_here() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    script(&python, &["make", folder.to_str().unwrap()]);
    for pool in ["avg", "token"] {
        for (images, crop, tolerance) in [("exact", "none", EXACT), ("images", "center", RESIZED)] {
            let name = format!("{pool}-{images}");
            let theirs = fs::read_to_string(folder.join(format!("{name}.json"))).unwrap();
            let theirs: Probabilities = serde_json::from_str(&theirs).unwrap();
            let file = format!("{pool}.safetensors");
            let args = ["classify", "--eval", "--init-weights", &file, "--val-data", images];
            succeeds(&run(folder, &[&args[..], &["--eval-crop", crop, "--out", &name]].concat()));
            assert_same(&predictions(&folder.join(&name)), &theirs, tolerance);
            let right = theirs.iter().filter(|(id, of)| id.starts_with(CLASSES[best(of)]));
            let top1 = right.count() as f64 / theirs.len() as f64;
            let said = fs::read_to_string(folder.join(&name).join("evaluation.json")).unwrap();
            let said: Value = serde_json::from_str(&said).unwrap();
            assert_eq!(said["top1"].as_f64().unwrap(), top1);
        }
    }
}

#[test]
fn timm_loads_what_was_fine_tuned() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    script(&python, &["make", folder.to_str().unwrap()]);
    succeeds(&small(folder, &["--data", "images", "--max-steps", "1", "--out", "run"]));
    let tune = ["classify", "--data", "images", "--val-data", "images", "--init-weights", "run"];
    let few = ["--batch-size", "4", "--max-steps", "20", "--lr", "1e-3", "--out", "tuned"];
    succeeds(&run(folder, &[&tune[..], &few].concat()));
    let file = folder.join("tuned/classifier.safetensors");
    let said = script(&python, &["check", folder.to_str().unwrap(), file.to_str().unwrap()]);
    let theirs: Probabilities = serde_json::from_str(&said).unwrap();
    let ours = predictions(&folder.join("tuned"));
    for (id, shares) in &ours {
        for (a, b) in shares.iter().zip(&theirs[id]) {
            assert!((a - b).abs() < RESIZED, "{id}: {shares:?} here, {:?} by timm", theirs[id]);
        }
    }
}
