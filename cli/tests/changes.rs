//! Settings that change when a run goes on.

mod common;

use std::fs;
use std::path::Path;

use common::{SMALL, fails, losses, pretrain, records, small, succeeds};
use serde_json::Value;
use tempfile::TempDir;

/// Twelve steps of 2 x 4 images; what a session saves is in checkpoints after each step.
const RUN: [&str; 10] = [
    "--data",
    "synthetic",
    "--synthetic-images",
    "32",
    "--accum-iter",
    "2",
    "--save-every",
    "1",
    "--keep",
    "99",
];

/// A run of three epochs in `run`, cut back to step 6, in the middle of its second epoch.
fn cut_run(more: &[&str]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let epochs = ["--epochs", "3", "--out", "run"];
    succeeds(&small(folder.path(), &[&RUN[..], &epochs, more].concat()));
    cut(folder.path(), 6);
    folder
}

/// Takes away what a run did after `step`, as if it had been killed then.
fn cut(folder: &Path, step: u64) {
    for later in step + 1..=30 {
        let _ = fs::remove_dir_all(folder.join(format!("run/checkpoints/step-{later:08}")));
    }
    fs::remove_file(folder.join("run/encoder.safetensors")).unwrap();
}

fn resume(folder: &Path, more: &[&str]) -> std::process::Output {
    pretrain(folder, &[&["--resume", "run"], more].concat())
}

fn recipe(folder: &Path) -> toml::Table {
    fs::read_to_string(folder.join("run/recipe.toml")).unwrap().parse().unwrap()
}

/// The learning rates of the steps, by step.
fn rates(folder: &Path) -> Vec<f64> {
    let lines = records(&folder.join("run"), "train");
    lines.iter().map(|line| line["lr"].as_f64().unwrap()).collect()
}

fn history(folder: &Path) -> Vec<(u64, String)> {
    let text = fs::read_to_string(folder.join("run/changes.jsonl")).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.map(|l| (l["step"].as_u64().unwrap(), l["key"].as_str().unwrap().to_owned())).collect()
}

#[test]
fn mistakes_in_the_keys_are_mistakes_of_usage() {
    let folder = tempfile::tempdir().unwrap();
    for (args, parts) in [
        (&["--allow-changes", "lr"][..], &["--allow-changes", "--resume"][..]),
        (&["--resume", "none", "--allow-changes", "lr"], &["--resume"]),
        (&["--resume", "run", "--allow-changes", "lr,blrr"], &["`blrr`", "did you mean `blr`"]),
        (&["--resume", "run", "--allow-changes", "model"], &["model", "--init-weights"]),
        (
            &["--resume", "run", "--allow-changes", "effective-batch-size"],
            &["effective_batch_size"],
        ),
    ] {
        fails(&pretrain(folder.path(), args), 2, parts);
    }
    assert!(fs::read_dir(folder.path()).unwrap().next().is_none());
}

#[test]
fn a_change_is_refused_unless_it_is_named() {
    let folder = cut_run(&[]);
    let before = recipe(folder.path());
    let asked = ["--lr", "5e-4", "--drop-path", "0.1"];
    let named = |key| [&asked[..], &["--allow-changes", key][..]].concat();
    let refused = resume(folder.path(), &asked);
    let parts = ["lr was 0.001, now 0.0005", "drop_path was 0.0, now 0.1", "--allow-changes"];
    fails(&refused, 1, &parts);
    fails(
        &resume(folder.path(), &named("lr")),
        1,
        &["run was begun", "drop_path was 0.0, now 0.1"],
    );
    assert_eq!(recipe(folder.path()), before, "what is refused changes nothing");

    let rates_before = rates(folder.path());
    let said = succeeds(&resume(folder.path(), &named("lr,drop-path")));
    assert!(said.contains("changed from here on: lr was 0.001, now 0.0005"), "{said}");
    let log = fs::read_to_string(folder.path().join("run/log.txt")).unwrap();
    assert!(log.contains("changed from here on: drop_path was 0.0, now 0.1"), "{log}");
    let now = recipe(folder.path());
    assert_eq!((now["lr"].as_float(), now["drop_path"].as_float()), (Some(5e-4), Some(0.1)));
    assert_eq!(history(folder.path()), [(6, "drop_path".to_owned()), (6, "lr".to_owned())]);
    for (step, (was, now)) in rates_before.iter().zip(rates(folder.path())).enumerate() {
        let factor = if step < 6 { 1.0 } else { 0.5 };
        assert!((was * factor - now).abs() < 1e-12, "step {}: {was} {now}", step + 1);
    }
    // The same words again ask for what is there.
    assert!(succeeds(&resume(folder.path(), &asked)).contains("is finished"));
}

#[test]
fn what_follows_from_a_change_changes_with_it() {
    let folder = cut_run(&["--set", "blr=0.01"]);
    // A rate that was set gives way to another base rate; more epochs are validated less often.
    let more = ["--blr", "0.02", "--epochs", "40", "--max-steps", "8"];
    let allowed = ["--allow-changes", "blr,epochs,max_steps"];
    succeeds(&resume(folder.path(), &[&more[..], &allowed].concat()));
    let now = recipe(folder.path());
    assert!(!now.contains_key("lr") && now["blr"].as_float() == Some(0.02), "{now}");
    assert_eq!(now["val_every"].as_integer(), Some(2));
    let at = |step: usize| rates(folder.path())[step - 1];
    let (peak, end) = (0.02 * 8.0 / 256.0, 8.0);
    let expected = peak * 0.5 * (1.0 + ((7.0 - 0.4) / (end - 0.4) * std::f64::consts::PI).cos());
    assert!((at(8) - expected).abs() < 1e-9, "{} {expected}", at(8));
}

#[test]
fn a_smaller_micro_batch_takes_more_of_them() {
    let folder = cut_run(&[]);
    let halved = ["--batch-size", "2", "--allow-changes", "batch_size"];
    let before = losses(&folder.path().join("run"));
    succeeds(&resume(folder.path(), &halved));
    let now = recipe(folder.path());
    let sizes = ["batch_size", "accum_iter", "effective_batch_size"];
    assert_eq!(sizes.map(|key| now[key].as_integer()), [Some(2), Some(4), Some(8)]);
    for ((step, was), (_, now)) in before.iter().zip(losses(&folder.path().join("run"))) {
        assert!((was - now).abs() < 1e-4, "step {step}: the same images, {was} {now}");
    }
    // Fewer images a step would shift every step's place in the data.
    let folder = cut_run(&[]);
    let fewer = ["--batch-size", "2", "--accum-iter", "2"];
    let refused = [&fewer[..], &["--allow-changes", "batch_size,accum_iter"]].concat();
    fails(
        &resume(folder.path(), &refused),
        1,
        &["effective_batch_size was 8, now 4", "always keeps effective_batch_size"],
    );
}

#[test]
fn a_recipe_edited_by_hand_is_noticed() {
    let folder = cut_run(&[]);
    let path = folder.path().join("run/recipe.toml");
    let edited = fs::read_to_string(&path).unwrap().replace("lr = 0.001", "lr = 0.0005");
    fs::write(&path, &edited).unwrap();
    let refused = resume(folder.path(), &[]);
    fails(&refused, 1, &["recipe.toml", "lr was 0.001, now 0.0005", "--allow-changes"]);
    succeeds(&resume(folder.path(), &["--allow-changes", "lr"]));
    assert_eq!(history(folder.path()), [(6, "lr".to_owned())]);

    let folder = cut_run(&[]);
    let path = folder.path().join("run/recipe.toml");
    let edited = fs::read_to_string(&path).unwrap().replace("seed = 0", "seed = 1");
    fs::write(&path, &edited).unwrap();
    fails(&resume(folder.path(), &[]), 1, &["seed was 0, now 1"]);
}

#[test]
fn a_change_cut_off_before_its_first_checkpoint_is_still_allowed() {
    let folder = cut_run(&[]);
    let change = ["--lr", "5e-4", "--allow-changes", "lr"];
    succeeds(&resume(folder.path(), &change));
    let whole = losses(&folder.path().join("run"));
    // No checkpoint with the new rate is left, as after a kill right behind the change.
    cut(folder.path(), 6);
    succeeds(&resume(folder.path(), &[]));
    assert_eq!(losses(&folder.path().join("run")), whole);
    assert_eq!(history(folder.path()).len(), 1, "it is not a change any more");

    // Another value by hand is not the one that was allowed.
    cut(folder.path(), 6);
    let path = folder.path().join("run/recipe.toml");
    let edited = fs::read_to_string(&path).unwrap().replace("lr = 0.0005", "lr = 0.0007");
    fs::write(&path, edited).unwrap();
    fails(&resume(folder.path(), &[]), 1, &["lr was 0.001, now 0.0007"]);
}

#[test]
fn a_run_without_a_checkpoint_can_change_too() {
    let folder = cut_run(&[]);
    fs::remove_dir_all(folder.path().join("run/checkpoints")).unwrap();
    succeeds(&resume(folder.path(), &["--lr", "5e-4", "--allow-changes", "lr"]));
    let run = folder.path().join("run");
    let fresh = ["--epochs", "3", "--lr", "5e-4", "--out", "fresh"];
    let base = SMALL.iter().filter(|arg| !["--lr", "1e-3"].contains(arg)).copied();
    let args: Vec<&str> = base.chain(RUN).chain(fresh).collect();
    succeeds(&pretrain(folder.path(), &args));
    assert_eq!(losses(&run), losses(&folder.path().join("fresh")));
    assert_eq!(history(folder.path()), [(0, "lr".to_owned())]);
}

#[test]
fn a_recipe_that_leaves_a_named_key_out_sets_it_back() {
    let folder = cut_run(&["--clip-grad", "1"]);
    fs::write(folder.path().join("plain.toml"), "data = 'synthetic'").unwrap();
    let args = ["--recipe", "plain.toml", "--allow-changes", "clip_grad"];
    let said = succeeds(&resume(folder.path(), &args));
    assert!(said.contains("clip_grad was 1.0, now not set"), "{said}");
    assert!(!recipe(folder.path()).contains_key("clip_grad"));
}

#[test]
fn corrupt_samples_are_counted_over_all_sessions() {
    let folder = tempfile::tempdir().unwrap();
    let images = common::image_folder(folder.path());
    for i in 0..3 {
        fs::write(images.join(format!("bad-{i}.jpg")), "no picture").unwrap();
    }
    let base = ["--data", "images", "--repeat", "4", "--epochs", "2", "--out", "run"];
    let args = [&base[..], &["--save-every", "10", "--keep", "99"]].concat();
    let whole = small(folder.path(), &args);
    let said = succeeds(&whole);
    assert!(said.contains("3 images skipped as corrupt"), "{said}");
    let warned = |output: &std::process::Output| common::stderr(output).matches("bad-").count();
    assert_eq!(warned(&whole), 3);
    cut(folder.path(), 20);
    // All were met in the first epoch: nothing is new, nothing is forgotten.
    for workers in ["1", "3"] {
        let output = resume(folder.path(), &["--workers", workers]);
        assert!(succeeds(&output).contains("3 images skipped as corrupt"));
        assert_eq!(warned(&output), 0, "{}", common::stderr(&output));
        cut(folder.path(), 20);
    }
    // The limit is the run's, not the session's.
    fails(&resume(folder.path(), &["--max-corrupt", "2"]), 1, &["corrupt"]);
}
