//! `longmae report` on runs as the program makes them.

mod common;

use std::fs;
use std::path::Path;
use std::process::Output;

use common::{fails, longmae_command, small, succeeds};

fn report(folder: &Path, args: &[&str]) -> Output {
    longmae_command(&[&["report"], args].concat()).current_dir(folder).output().unwrap()
}

fn train(folder: &Path, name: &str, more: &[&str]) {
    let args = ["--data", "synthetic", "--synthetic-images", "16", "--out", name];
    succeeds(&small(folder, &[&args[..], more].concat()));
}

#[test]
fn two_runs_are_one_page() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    train(folder, "one", &["--epochs", "2", "--val-share", "0.25", "--pictures-every", "2"]);
    train(
        folder,
        "two",
        &["--epochs", "3", "--weight-decay", "0.125", "--max-steps", "5", "--pictures-every", "5"],
    );

    let said = succeeds(&report(folder, &["one", "two"]));
    assert!(said.contains("report.html"), "{said}");
    let page = fs::read_to_string(folder.join("report.html")).unwrap();
    for part in [
        "2 runs",
        "vit-nano",
        "16 (4 x 4 patches)",
        "6 of 6 (100%)",
        "5 of 5 (100%)",
        "Validation loss",
        "at step 6",
        "<code>weight_decay</code>",
        "0.125",
        // The runs' epochs are 3 and 4 steps long.
        "Along epochs",
        "step 2<",
        "step 6<",
    ] {
        assert!(page.contains(part), "{part} is not in the page");
    }
    // Three pictures of the first run, one of the second.
    assert_eq!(page.matches("<img src=\"data:image/").count(), 4);

    let said = succeeds(&report(folder, &["one"]));
    assert!(said.contains("one/report.html"), "{said}");
    let page = fs::read_to_string(folder.join("one/report.html")).unwrap();
    assert!(page.contains("<h1>one</h1>") && page.contains("Along steps"));
    assert!(!page.contains("Differences"));

    succeeds(&report(folder, &["one", "--out", "elsewhere.html"]));
    assert!(folder.join("elsewhere.html").is_file());
}

/// A run's folder as it looks after a step or two.
fn begun(folder: &Path, name: &str, recipe: &str, metrics: &str) {
    let run = folder.join(name);
    fs::create_dir_all(&run).unwrap();
    fs::write(run.join("recipe.toml"), recipe).unwrap();
    fs::write(run.join("metrics.jsonl"), metrics).unwrap();
}

#[test]
fn unfinished_runs_are_shown_as_far_as_they_came() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let cut = "{\"kind\":\"train\",\"step\":1,\"epoch\":0.5,\"loss\":2.0}\n{\"kind\":\"future\",\"step\":1}\n{\"kind\":\"tra";
    begun(folder, "cut", "model = \"vit-nano\"\nof_the_future = 1\n", cut);
    succeeds(&report(folder, &["cut"]));
    let page = fs::read_to_string(folder.join("cut/report.html")).unwrap();
    assert!(page.contains("unreadable lines of metrics") && page.contains("of_the_future"));

    begun(folder, "empty", "model = \"vit-nano\"\n", "");
    begun(folder, "missing", "model = \"vit-nano\"\n", "");
    fs::remove_file(folder.join("missing/metrics.jsonl")).unwrap();
    for run in ["empty", "missing"] {
        succeeds(&report(folder, &[run]));
        let page = fs::read_to_string(folder.join(run).join("report.html")).unwrap();
        assert!(page.contains("no finite value yet"), "{run}");
    }

    // A picture that is damaged is said to be; the others are shown.
    fs::create_dir(folder.join("cut/reconstructions")).unwrap();
    fs::write(folder.join("cut/reconstructions/step-00000001.png"), "no picture").unwrap();
    fs::write(folder.join("cut/reconstructions/.tmp-step-00000002.png-7"), "").unwrap();
    succeeds(&report(folder, &["cut"]));
    let page = fs::read_to_string(folder.join("cut/report.html")).unwrap();
    assert_eq!(page.matches("cannot be shown").count(), 1);
}

#[test]
fn runs_of_the_same_name_are_told_apart_by_their_paths() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    for name in ["a/run", "b/run", "c/other"] {
        begun(folder, name, "", "");
    }
    succeeds(&report(folder, &["a/run", "b/run", "c/other"]));
    let page = fs::read_to_string(folder.join("report.html")).unwrap();
    for name in [">a/run<", ">b/run<", ">other<"] {
        assert!(page.contains(name), "{name}");
    }
}

#[test]
fn what_is_no_run_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    begun(folder, "run", "", "");
    begun(folder, "broken", "model = ", "");
    fs::create_dir(folder.join("no-run")).unwrap();
    fails(&report(folder, &[]), 2, &["RUN"]);
    fails(&report(folder, &["absent"]), 1, &["absent", "no such folder"]);
    fails(&report(folder, &["run/recipe.toml"]), 1, &["recipe.toml", "no such folder"]);
    fails(&report(folder, &["no-run"]), 1, &["no-run", "holds no run"]);
    fails(&report(folder, &["broken"]), 1, &["broken/recipe.toml", "TOML"]);
    fails(&report(folder, &["run", "./run"]), 2, &["./run", "given twice"]);
    fails(&report(folder, &["run", "--out", "absent/page.html"]), 1, &["absent/page.html"]);
    assert!(!folder.join("report.html").exists());
}
