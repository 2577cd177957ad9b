//! `longmae linprobe`, trained and exact, and the probe of a run that goes on.

mod common;

use std::fs;
use std::path::Path;
use std::process::Output;

use common::{CLASSES, class_folder, fails, longmae_command, losses, records, small, succeeds};
use longmae_weights::{Checkpoint, Kind};
use serde_json::Value;

fn run(folder: &Path, args: &[&str]) -> Output {
    let mut command = longmae_command(args);
    command.current_dir(folder).env("RAYON_NUM_THREADS", "1").output().unwrap()
}

/// A folder with labelled images and a pre-training run of one step.
fn prepared() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    succeeds(&small(folder.path(), &["--data", "demo", "--max-steps", "1", "--out", "run"]));
    class_folder(folder.path(), "images", &CLASSES);
    folder
}

const PROBE: [&str; 11] = [
    "linprobe",
    "--data",
    "images",
    "--val-data",
    "images",
    "--init-weights",
    "run",
    "--batch-size",
    "4",
    "--workers",
    "1",
];

fn probe(folder: &Path, args: &[&str]) -> Output {
    run(folder, &[&PROBE[..], args].concat())
}

#[test]
fn an_exact_probe_tells_images_that_it_has_seen() {
    let folder = prepared();
    let folder = folder.path();
    for pool in ["class", "mean"] {
        let args = ["--exact", "--c", "100", "--pool", pool, "--eval-crop", "none", "--out", pool];
        let said = succeeds(&probe(folder, &args));
        // Twelve points in 128 dimensions can be told apart by a plane.
        assert!(said.contains("top-1 100.00%") && said.contains("12 features of 128"), "{said}");
        fails(&probe(folder, &args), 1, &["--out", pool, "holds a run or a probe"]);
        let again = succeeds(&probe(folder, &args[..args.len() - 2]));
        assert!(said.starts_with(&again), "nothing is drawn: {said}\n{again}");
        let probe = format!("{pool}/probe.safetensors");
        succeeds(&run(folder, &["weights", "verify", &probe]));
        let eval = ["classify", "--eval", "--init-weights", &probe, "--val-data", "images"];
        fails(&run(folder, &eval), 1, &["a linear probe", "--exact"]);
        let file = Checkpoint::open(folder.join(pool).join("probe.safetensors")).unwrap();
        let metadata = file.metadata().unwrap();
        assert_eq!(metadata.kind, Kind::Classifier);
        let head = metadata.info.classifier.clone().unwrap();
        assert_eq!((head.pool.as_str(), head.classes), (pool, CLASSES.map(str::to_owned).to_vec()));
        assert_eq!(file.shape("head.1.weight"), Some(&[3, 128][..]));
    }
}

#[test]
fn a_probe_is_trained_with_a_frozen_encoder() {
    let folder = prepared();
    let folder = folder.path();
    let args = ["--max-steps", "6", "--save-every", "3", "--keep", "9", "--lr", "0.5"];
    let said = succeeds(&probe(folder, &[&args[..], &["--out", "one"]].concat()));
    assert!(said.contains("a linear probe of run (vit-nano, class token)"), "{said}");
    let run_ = folder.join("one");
    let (before, probe_file) = (losses(&run_), run_.join("probe.safetensors"));
    assert!(before.last().unwrap().1 < before[0].1, "{before:?}");
    let encoder = Checkpoint::open(folder.join("run/encoder.safetensors")).unwrap();
    let probed = Checkpoint::open(&probe_file).unwrap();
    for name in encoder.names() {
        let [a, b] = [&encoder, &probed].map(|file| {
            let tensor = file.tensor(name, &candle_core::Device::Cpu).unwrap();
            tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap()
        });
        assert_eq!(a, b, "{name} is frozen");
    }
    let seen = probed.tensor("head.0.num_batches_tracked", &candle_core::Device::Cpu).unwrap();
    assert_eq!(
        seen.flatten_all()
            .unwrap()
            .to_dtype(candle_core::DType::F32)
            .unwrap()
            .to_vec1::<f32>()
            .unwrap(),
        [6.0]
    );
    // Cut off after its first checkpoint: running statistics go on too.
    let whole = fs::read(&probe_file).unwrap();
    fs::remove_dir_all(run_.join("checkpoints/step-00000006")).unwrap();
    succeeds(&run(folder, &["linprobe", "--resume", "one"]));
    assert_eq!(losses(&run_), before);
    assert!(fs::read(&probe_file).unwrap() == whole, "the same file");
}

#[test]
fn what_an_exact_probe_has_no_use_for_is_refused() {
    let folder = prepared();
    let folder = folder.path();
    for (args, code, parts) in [
        (&["--exact", "--blr", "0.1"][..], 2, &["blr", "solved and not trained"][..]),
        (&["--exact", "--epochs", "3"], 2, &["epochs"]),
        (&["--exact", "--c", "0"], 2, &["c 0", "above 0"]),
        (&["--drop-path", "0.1"], 2, &["drop_path", "frozen"]),
        (&["--ema", "0.9"], 2, &["ema", "no average"]),
        (&["--c", "1"], 2, &["c is for --exact"]),
        (&["--batch-size", "1"], 2, &["batch_size 1", "two images"]),
        (&["--exact", "--dry-run"], 2, &["--dry-run", "a run that trains"]),
        (&["--recipe", "finetune-vit-base-224"], 2, &["is for `longmae classify`"]),
        (&["--exact", "--init-weights", "nowhere"], 1, &["nowhere"]),
    ] {
        fails(&probe(folder, args), code, parts);
    }
}

#[test]
fn pre_training_is_probed_as_it_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    class_folder(folder, "images", &CLASSES);
    let args = ["--data", "demo", "--max-steps", "6", "--out", "run"];
    let probed = ["--probe-data", "images", "--probe-val-data", "images", "--probe-every", "1"];
    let said = succeeds(&small(folder, &[&args[..], &probed].concat()));
    assert!(said.contains("probe knn_top1"), "{said}");
    let found = records(&folder.join("run"), "probe");
    let steps: Vec<u64> = found.iter().map(|record| record["step"].as_u64().unwrap()).collect();
    assert_eq!(steps, [3, 6], "twelve images, four a step");
    let share = |record: &Value, name: &str| record[name].as_f64().unwrap();
    assert!(found.iter().all(|record| (0.0..=1.0).contains(&share(record, "knn_top1"))));
    // Tested on what it learnt from.
    assert_eq!(share(&found[1], "linear_top1"), 1.0);
    // The run itself is not changed by being looked at.
    let args = ["--data", "demo", "--max-steps", "6", "--out", "alone"];
    succeeds(&small(folder, &args));
    assert_eq!(losses(&folder.join("run")), losses(&folder.join("alone")));

    let fail = |args: &[&str], code: i32, parts: &[&str]| {
        fails(&small(folder, &[&["--data", "demo", "--out", "x"], args].concat()), code, parts);
        assert!(!folder.join("x").exists());
    };
    fail(&["--probe-every", "2"], 2, &["probe_every", "probe_data"]);
    fail(&["--probe-data", "demo"], 1, &["the probe's data", "no class"]);
}
