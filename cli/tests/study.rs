//! `longmae study`: grids, budgets, kills, and what is written.

mod common;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use common::{class_folder, fails, longmae_command, stdout, succeeds};
use serde_json::Value;

/// Two rows of a model of next to nothing, probed.
const STUDY: &str = r#"
recipe = "cifar10-pretrain"
seeds = [0, 1]

[set]
data = "train"
image_size = 16
encoder_dim = 16
encoder_depth = 1
encoder_heads = 1
decoder_dim = 16
decoder_depth = 1
decoder_heads = 1
batch_size = 4
repeat = 4
epochs = 2
save_every = 2
pictures_every = "1000000"
workers = 1

[probe]
val_data = "test"
crop = "none"
k = 3
c = [1.0]

[[row]]
name = "short"
series = "units of 4 pixels"
patch_size = 4
mask_unit = 1

[[row]]
name = "long"
series = "units of 4 pixels"
patch_size = 2
mask_unit = 2
"#;

/// A folder with images of three classes, and a study of them.
fn workplace(study: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    class_folder(folder.path(), "train", &common::CLASSES);
    class_folder(folder.path(), "test", &common::CLASSES);
    fs::write(folder.path().join("mine.toml"), study).unwrap();
    folder
}

fn command(folder: &Path, args: &[&str]) -> Command {
    let mut command = longmae_command(&[&["study"], args].concat());
    command.current_dir(folder).env("RAYON_NUM_THREADS", "1").env_remove("RUST_BACKTRACE");
    command
}

fn study(folder: &Path, args: &[&str]) -> Output {
    command(folder, args).output().unwrap()
}

fn read(folder: &Path, file: &str) -> String {
    fs::read_to_string(folder.join(file)).unwrap_or_else(|e| panic!("{file}: {e}"))
}

fn rows(folder: &Path, file: &str) -> Vec<Value> {
    serde_json::from_str(&read(folder, file)).unwrap()
}

#[test]
fn a_grid_becomes_tables_and_plots_and_is_not_done_twice() {
    let folder = workplace(STUDY);
    let out = folder.path().join("out");
    let said = succeeds(&study(folder.path(), &["mine.toml", "--out", "out"]));
    assert!(said.contains("[4/4] long-seed1: loss "), "{said}");
    let results = rows(&out, "results.json");
    let lengths: Vec<_> = results.iter().map(|row| row["patches"].as_u64().unwrap()).collect();
    assert_eq!(lengths, [16, 64]);
    for row in &results {
        // 12 images 4 times in steps of 4, twice.
        assert_eq!(row["million_images"], 96e-6);
        for metric in ["loss", "knn_top1", "linear_top1"] {
            let values = row[metric]["values"].as_array().unwrap();
            assert_eq!(values.len(), 2, "{metric}: {row}");
            let mean = values.iter().map(|value| value.as_f64().unwrap()).sum::<f64>() / 2.0;
            assert!((row[metric]["mean"].as_f64().unwrap() - mean).abs() < 1e-12);
        }
        assert!(row["val_loss"].is_null());
    }
    assert_ne!(results[0]["loss"]["values"][0], results[0]["loss"]["values"][1], "seeds differ");
    let markdown = read(&out, "results.md");
    assert!(markdown.contains("| row | I | p | L | Le | Ld |") && markdown.contains(" ± "));
    let csv = read(&out, "results.csv");
    assert_eq!(csv.lines().count(), 3);
    assert!(csv.starts_with("row,image_size,patch_size,patches,"), "{csv}");
    let cost = rows(&out, "cost.json");
    assert!(cost.iter().all(|row| row["images_per_second"].as_f64().unwrap() > 0.0));
    assert!(cost.iter().all(|row| row["expected_step_seconds"].as_f64().unwrap() > 0.0));
    for metric in ["loss", "knn_top1", "linear_top1"] {
        for over in ["L", "compute"] {
            let svg = read(&out, &format!("{metric}_over_{over}.svg"));
            assert!(svg.starts_with("<svg") && !svg.contains("no finite value"), "{metric} {over}");
        }
    }
    // What a run says of itself is what the table has.
    let log = read(&out, "cells/short-seed0/log.txt");
    assert!(log.contains("top-1"), "{log}");

    let done = read(&out, "cells/short-seed0/run/metrics.jsonl");
    let again = succeeds(&study(folder.path(), &["mine.toml", "--out", "out"]));
    assert!(!again.contains("L = 16,"), "nothing is done again: {again}");
    assert_eq!(read(&out, "cells/short-seed0/run/metrics.jsonl"), done);
    assert_eq!(read(&out, "results.csv"), csv);

    // One more seed is one more run a row.
    let more = succeeds(&study(folder.path(), &["mine.toml", "--out", "out", "--seeds", "0,1,2"]));
    assert_eq!(more.matches(" epochs\n").count(), 2, "{more}");
    assert_eq!(rows(&out, "results.json")[1]["runs"], 3);

    // Expected hours of another study, from what was measured.
    let plan = ["mine.toml", "--dry-run", "--speed", "out", "--set", "epochs=200"];
    let plan = succeeds(&study(folder.path(), &plan));
    assert!(plan.contains("expected hours") && plan.contains("all runs: about"), "{plan}");

    // Other settings are not mixed in.
    let other = study(folder.path(), &["mine.toml", "--out", "out", "--set", "epochs=3"]);
    fails(
        &other,
        1,
        &["short-seed0", "begun with other settings", "epochs = 2 there, epochs = 3 now"],
    );
}

/// A sequence that looks random and is the same every time.
fn draw(state: &mut u64) -> f64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) as f64 / (1_u64 << 31) as f64
}

#[cfg(target_os = "linux")]
#[test]
fn a_study_that_is_killed_again_and_again_ends_with_the_same_table() {
    use std::time::{Duration, Instant};

    let folder = workplace(STUDY);
    let began = Instant::now();
    succeeds(&study(folder.path(), &["mine.toml", "--out", "whole"]));
    let length = began.elapsed();
    let (mut state, mut kills) = (7, 0);
    while kills < 12 {
        let mut child = command(folder.path(), &["mine.toml", "--out", "killed"])
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        std::thread::sleep(length.mul_f64(0.3 * draw(&mut state)) + Duration::from_millis(20));
        child.kill().unwrap();
        let output = child.wait_with_output().unwrap();
        if output.status.code().is_some() {
            succeeds(&output);
            break;
        }
        kills += 1;
    }
    assert!(kills >= 3, "only {kills} kills within {length:?}");
    let said = succeeds(&study(folder.path(), &["mine.toml", "--out", "killed"]));
    for file in ["results.md", "results.csv", "results.json", "linear_top1_over_compute.svg"] {
        let [whole, killed] = ["whole", "killed"].map(|out| read(&folder.path().join(out), file));
        assert_eq!(whole, killed, "{file} after {kills} kills: {said}");
    }
}

/// The process that trains is asked to stop with the study, and saves.
#[cfg(target_os = "linux")]
#[test]
fn a_study_that_is_asked_to_stop_saves_and_goes_on() {
    use std::time::{Duration, Instant};

    let folder = workplace(STUDY);
    let long =
        ["mine.toml", "--out", "out", "--rows", "short", "--seeds", "0", "--set", "epochs=4000"];
    let child = command(folder.path(), &long).stdout(std::process::Stdio::piped()).spawn().unwrap();
    let run = folder.path().join("out/cells/short-seed0/run");
    let began = Instant::now();
    while !run.join("checkpoints/step-00000002").exists() {
        assert!(began.elapsed() < Duration::from_secs(100), "no step was done");
        std::thread::sleep(Duration::from_millis(20));
    }
    Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    let said = succeeds(&child.wait_with_output().unwrap());
    assert!(said.contains("stopped; the same command goes on in out"), "{said}");
    assert!(read(&run, "log.txt").contains("stopped after step"));
    assert!(!folder.path().join("out/cells/short-seed0/result.json").exists());
    let table = read(&folder.path().join("out"), "results.csv");
    assert!(table.contains("short,16,4,16,"), "an unfinished table is there: {table}");
}

#[test]
fn several_runs_at_once_give_the_same_table() {
    let folder = workplace(STUDY);
    let one = ["mine.toml", "--seeds", "0", "--out", "one"];
    succeeds(&study(folder.path(), &one));
    succeeds(&study(folder.path(), &["mine.toml", "--seeds", "0", "--out", "two", "--jobs", "2"]));
    let [one, two] = ["one", "two"].map(|out| read(&folder.path().join(out), "results.csv"));
    assert_eq!(one, two);
}

#[test]
fn a_run_that_fails_does_not_end_the_others() {
    let broken = STUDY.replace("name = \"short\"", "name = \"short\"\ninit_weights = \"nowhere\"");
    let folder = workplace(&broken);
    let output = study(folder.path(), &["mine.toml", "--out", "out", "--seeds", "0"]);
    assert_eq!(output.status.code(), Some(1));
    let text = common::stderr(&output);
    assert!(text.contains("[1/2] short-seed0 failed: ") && text.contains("nowhere"), "{text}");
    assert!(text.contains("1 run of 2 failed: short-seed0"), "{text}");
    assert!(stdout(&output).contains("[2/2] long-seed0: loss"), "{}", stdout(&output));
    let results = rows(&folder.path().join("out"), "results.json");
    assert_eq!((results[0]["runs"].as_u64(), results[1]["runs"].as_u64()), (Some(0), Some(1)));
}

/// Epochs of rows in the plan, by name.
fn planned(folder: &Path, budget: &str) -> Vec<f64> {
    let text = format!(
        "budget = \"{budget}\"\n{STUDY}\n[[row]]\nname = \"twice\"\nschedule = 2\npatch_size = 4\n"
    );
    fs::write(folder.join("budget.toml"), text).unwrap();
    let said = succeeds(&study(folder, &["budget.toml", "--dry-run"]));
    let header = said.lines().find(|line| line.starts_with("| row")).unwrap();
    let columns: Vec<&str> = header.split('|').map(str::trim).collect();
    let column = columns.iter().position(|title| *title == "passes over the data").unwrap();
    let rows = said
        .lines()
        .filter(|line| ["| short", "| long", "| twice"].iter().any(|n| line.starts_with(n)));
    rows.map(|line| line.split('|').nth(column).unwrap().trim().parse().unwrap()).collect()
}

#[test]
fn budgets_match_epochs_tokens_or_operations() {
    let folder = workplace(STUDY);
    // Two epochs of four passes; a long sequence has four times the tokens.
    assert_eq!(planned(folder.path(), "epochs"), [8.0, 8.0, 16.0]);
    assert_eq!(planned(folder.path(), "tokens"), [8.0, 2.0, 16.0]);
    let flops = planned(folder.path(), "flops");
    assert!(flops[1] > 1.0 && flops[1] < 3.0 && flops[0] == 8.0 && flops[2] == 16.0, "{flops:?}");
}

#[test]
fn mistakes_are_told_before_anything_runs() {
    let folder = workplace(STUDY);
    let wrong = |text: &str, args: &[&str], parts: &[&str]| {
        fs::write(folder.path().join("wrong.toml"), text).unwrap();
        let all = [&["wrong.toml", "--out", "wrong"], args].concat();
        fails(&study(folder.path(), &all), 2, parts);
        assert!(!folder.path().join("wrong").exists());
    };
    let with = |from: &str, to: &str| STUDY.replace(from, to);
    wrong(&with("mask_unit = 2", "mask_unti = 2"), &[], &["row long", "did you mean `mask_unit`"]);
    wrong(&with("patch_size = 2", "patch_size = 3"), &[], &["row long", "16", "3"]);
    wrong(&with("\"long\"", "\"short\""), &[], &["row short is there twice"]);
    wrong(&with("\"long\"", "\"../long\""), &[], &["row `../long`", "expected letters"]);
    wrong(&with("seeds = [0, 1]", "seeds = [1, 1]"), &[], &["seed 1 is there twice"]);
    wrong(&with("val_data = \"test\"\n", ""), &[], &["--probe-val-data"]);
    wrong(&with("data = \"train\"\n", ""), &[], &["needs --data"]);
    wrong(
        &with("seeds", "budget = \"flops\"\nreference = \"shorter\"\nseeds"),
        &[],
        &["unknown reference", "short"],
    );
    wrong(
        &with("seeds", "budget = \"tokens\"\nseeds").replace("mask_unit = 2", "epochs = 3"),
        &[],
        &["row long", "`epochs` differs"],
    );
    wrong(STUDY, &["--rows", "longer"], &["unknown row `longer`", "did you mean `long`"]);
    wrong(STUDY, &["--jobs", "0"], &["--jobs 0"]);
    wrong(STUDY, &["--ranks", "3"], &["--ranks 3", "4 images"]);
    fails(&study(folder.path(), &["study-cifar"]), 2, &["did you mean `study-cifar10`"]);
    fails(&study(folder.path(), &["demo"]), 2, &["is for `mae-pretrain`"]);
    let speed = ["mine.toml", "--dry-run", "--speed", "nowhere"];
    fails(&study(folder.path(), &speed), 1, &["--speed nowhere", "no study"]);
}

#[test]
fn built_in_studies_are_planned_without_data() {
    let folder = tempfile::tempdir().unwrap();
    let said = succeeds(&study(folder.path(), &["study-paper", "--dry-run"]));
    assert!(said.contains("23 rows x 1 seed = 23 runs"), "{said}");
    // COCO five times over in 800 epochs: 241,690 x 5 in steps of 4096.
    let row = said.lines().find(|line| line.starts_with("| i448-p8 |")).unwrap();
    assert!(row.contains("| 3136 | 785 | 3137 |") && row.contains("| 4000.0 | 966.656 |"), "{row}");
    let said = succeeds(&study(folder.path(), &["study-cifar10", "--dry-run"]));
    assert!(said.contains("9 rows x 3 seeds = 27 runs"), "{said}");
}
