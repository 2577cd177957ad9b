//! The built-in recipes of the long-sequence paper, as a user starts them.

mod common;

use std::path::Path;

use common::{fails, longmae, losses, pretrain, succeeds};
use serde_json::Value;

/// What the published code computes for each row.
fn published() -> Vec<Value> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/paper_rows.json");
    serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap()
}

#[test]
fn a_dry_run_says_what_the_published_code_computes() {
    let folder = tempfile::tempdir().unwrap();
    for row in published() {
        let name = row["recipe"].as_str().unwrap();
        let said = succeeds(&pretrain(folder.path(), &["--recipe", name, "--dry-run"]));
        let line = |what: &str| {
            let line = said.lines().find(|line| line.trim_start().starts_with(what));
            line.unwrap_or_else(|| panic!("{name}: no {what} in {said}"))
        };
        for (what, key) in [("L ", "L"), ("Le", "encoder_tokens"), ("Ld", "decoder_tokens")] {
            let number = line(what).split_whitespace().nth(1).unwrap();
            assert_eq!(number, row[key].to_string(), "{name}: {what}");
        }
        let gflop = row["forward_flops"].as_f64().unwrap() / 1e9;
        assert!(line("compute").contains(&format!("{gflop:.2} GFLOP an image forward")), "{said}");
        let unit = row["flags"]["mask_downsampling"].as_u64().unwrap();
        assert!(line("mask").contains(&format!(" units of {unit}x{unit} patches")), "{said}");
        assert!(said.contains("arXiv 2210.07224") && said.contains("long_seq_mae"), "{said}");
    }
}

/// Image, patch, mask and decoder's downsampling as published, in a model and a batch of next to nothing.
#[test]
fn every_row_trains() {
    let narrow = [
        "--encoder-dim",
        "16",
        "--encoder-depth",
        "1",
        "--encoder-heads",
        "1",
        "--decoder-dim",
        "16",
        "--decoder-depth",
        "1",
        "--decoder-heads",
        "1",
        "--batch-size",
        "2",
        "--effective-batch-size",
        "2",
        "--data",
        "synthetic",
        "--synthetic-images",
        "4",
        "--max-steps",
        "2",
        "--workers",
        "1",
    ];
    let folder = tempfile::tempdir().unwrap();
    for row in published() {
        let name = row["recipe"].as_str().unwrap();
        let args = [&["--recipe", name, "--out", name], &narrow[..]].concat();
        succeeds(&pretrain(folder.path(), &args));
        let losses = losses(&folder.path().join(name));
        assert_eq!(losses.len(), 2, "{name}");
        assert!(losses.iter().all(|(_, loss)| loss.is_finite()), "{name}: {losses:?}");
    }
}

#[test]
fn a_recipe_of_ones_own_can_stand_on_a_built_in_one() {
    let folder = tempfile::tempdir().unwrap();
    let write = |text: &str| std::fs::write(folder.path().join("mine.toml"), text).unwrap();
    let dry_run = || pretrain(folder.path(), &["--recipe", "mine.toml", "--dry-run"]);
    write("# Mine.\nbase = \"long-vit-base-448\"\nmask_unit = 4\n");
    let said = succeeds(&dry_run());
    assert!(said.starts_with("# Mine.\nplan of mine "), "{said}");
    assert!(said.contains("49 units of 4x4 patches"), "{said}");
    write("base = \"long-vit-base-44\"\n");
    fails(&dry_run(), 2, &["unknown recipe `long-vit-base-44`", "long-vit-base-448"]);
    write("base = 448\n");
    fails(&dry_run(), 2, &["mine.toml", "`base` is 448"]);
    let shown = succeeds(&longmae(&["recipes", "show", "long-i448-p8"]));
    assert!(shown.contains("base = \"long-coco-vit-base-448\""), "{shown}");
}
