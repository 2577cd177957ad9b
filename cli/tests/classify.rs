//! `longmae classify`: fine-tuning and evaluation.

mod common;

use std::fs;
use std::path::Path;
use std::process::Output;

use common::{
    CLASSES, class_folder, fails, image_folder, longmae_command, losses, photographs, records,
    small, succeeds,
};
use serde_json::Value;

/// A fine-tuning run of seconds, with everything that is random switched on.
const TUNE: [&str; 17] = [
    "classify",
    "--data",
    "images",
    "--val-data",
    "images",
    "--init-weights",
    "run",
    "--batch-size",
    "4",
    "--lr",
    "1e-3",
    "--drop-path",
    "0.1",
    "--workers",
    "1",
    "--val-every",
    "1000",
];

fn run(folder: &Path, args: &[&str]) -> Output {
    let mut command = longmae_command(args);
    command.current_dir(folder).env("RAYON_NUM_THREADS", "1").output().unwrap()
}

fn tune(folder: &Path, args: &[&str]) -> Output {
    run(folder, &[&TUNE[..], args].concat())
}

/// A folder with labelled images and a pre-training run of one step.
fn prepared() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    succeeds(&small(folder.path(), &["--data", "demo", "--max-steps", "1", "--out", "run"]));
    class_folder(folder.path(), "images", &CLASSES);
    folder
}

fn json(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn images_are_learnt_and_evaluated() {
    let folder = prepared();
    let folder = folder.path();
    // The same images again and again, as they are: they can be learnt by heart.
    let plain = [
        "--auto-augment",
        "none",
        "--mixup",
        "0",
        "--cutmix",
        "0",
        "--reprob",
        "0",
        "--crop",
        "none",
        "--flip",
        "false",
        "--smoothing",
        "0",
        "--layer-decay",
        "1",
        "--warmup-epochs",
        "0",
    ];
    let args = ["--repeat", "4", "--epochs", "8", "--drop-path", "0", "--out", "tuned"];
    let said = succeeds(&tune(folder, &[&plain[..], &args].concat()));
    assert!(said.contains("12 images of 3 classes: L = 16 (4x4 patches)"), "{said}");
    assert!(said.contains("top-1 100.00%"), "{said}");
    let tuned = folder.join("tuned");
    let last = records(&tuned, "eval").pop().unwrap();
    assert_eq!(last["top1"], 1.0);
    for file in ["classifier.safetensors", "loss.svg", "recipe.toml", "confusion.csv"] {
        assert!(tuned.join(file).is_file(), "{file}");
    }
    let evaluation = json(&tuned.join("evaluation.json"));
    assert_eq!((&evaluation["images"], &evaluation["top1"]), (&12.into(), &1.0.into()));
    assert_eq!(evaluation["per_class"]["bee"], 1.0);
    let text = fs::read_to_string(tuned.join("predictions.jsonl")).unwrap();
    let predictions: Vec<Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(predictions.len(), photographs().len());
    for prediction in predictions {
        assert_eq!(prediction["label"], prediction["prediction"]);
        let sum: f64 =
            prediction["top5"].as_array().unwrap().iter().map(|p| p[1].as_f64().unwrap()).sum();
        assert!((sum - 1.0).abs() < 1e-5, "probabilities of three classes sum to {sum}");
    }

    succeeds(&run(folder, &["weights", "verify", "tuned/classifier.safetensors"]));
    // The file alone says all of it again, also on a part of the classes, which are told by name.
    let eval = ["classify", "--eval", "--init-weights", "tuned/classifier.safetensors"];
    let again = succeeds(&run(
        folder,
        &[&eval[..], &["--val-data", "images", "--eval-crop", "none", "--out", "again"]].concat(),
    ));
    assert!(again.contains("top-1 100.00%"), "{again}");
    assert_eq!(json(&folder.join("again/evaluation.json")), evaluation);
    class_folder(folder, "cats", &["cat"]);
    let cats = succeeds(&run(
        folder,
        &[&eval[..], &["--val-data", "cats", "--eval-crop", "none", "--batch-size", "3"]].concat(),
    ));
    assert!(cats.contains("top-1 100.00%") && cats.contains("100.00%  cat"), "{cats}");
}

#[test]
fn neither_workers_nor_an_interruption_change_a_run() {
    let folder = prepared();
    let folder = folder.path();
    let steps = ["--max-steps", "6", "--save-every", "3", "--keep", "9", "--ema", "0.9"];
    succeeds(&tune(folder, &[&steps[..], &["--out", "one"]].concat()));
    succeeds(&tune(folder, &[&steps[..], &["--out", "three", "--workers", "3"]].concat()));
    let one = folder.join("one");
    assert_eq!(losses(&one).len(), 6);
    assert_eq!(losses(&one), losses(&folder.join("three")));
    let bytes = |run: &str| fs::read(folder.join(run).join("classifier.safetensors")).unwrap();
    let whole = bytes("one");
    assert!(whole == bytes("three"), "the same file");
    // As if it had been cut off after its first checkpoint.
    let before = losses(&one);
    fs::remove_dir_all(one.join("checkpoints/step-00000006")).unwrap();
    fs::remove_file(one.join("classifier.safetensors")).unwrap();
    // What it began with is no longer needed.
    fs::remove_dir_all(folder.join("run")).unwrap();
    succeeds(&run(folder, &["classify", "--resume", "one"]));
    assert_eq!(losses(&one), before);
    assert!(bytes("one") == whole, "the same file");
    assert!(one.join("classifier-ema.safetensors").is_file());
    // Its encoder's norm comes after the mean of all tokens.
    let tuned = "one/classifier.safetensors";
    let images = ["--data", "images", "--val-data", "images", "--k", "1"];
    let said = succeeds(&run(folder, &[&["knn", tuned][..], &images].concat()));
    assert!(said.contains("new, since the file's norm comes after a mean"), "{said}");
    let said = succeeds(&run(folder, &["weights", "inspect", tuned]));
    assert!(
        said.contains("classes         3: ") && said.contains("pool            mean"),
        "{said}"
    );
    succeeds(&run(folder, &["weights", "convert", tuned, "timm.safetensors", "--to", "timm"]));
    let said = succeeds(&run(folder, &["weights", "inspect", "timm.safetensors"]));
    assert!(said.contains("kind            classifier"), "{said}");
}

#[test]
fn every_variant_trains() {
    let folder = prepared();
    let folder = folder.path();
    for (name, args) in [
        ("class", &["--pool", "class"][..]),
        ("jitter", &["--auto-augment", "none", "--color-jitter", "0.3"]),
        ("policy", &["--auto-augment", "v0", "--mixup-mode", "pair"]),
        ("larger", &["--image-size", "48", "--mixup-mode", "elem"]),
        ("bf16", &["--precision", "bf16", "--accum-iter", "2"]),
        ("less", &["--grad-checkpoint", "--clip-grad", "1"]),
    ] {
        let said = succeeds(&tune(folder, &[args, &["--max-steps", "2", "--out", name]].concat()));
        assert!(said.contains("done: 2 steps"), "{name}: {said}");
        assert!(name != "larger" || said.contains("pos_embed"), "{said}");
    }
    // From scratch, and from what was fine-tuned.
    let scratch = ["classify", "--data", "images", "--model", "vit-nano", "--image-size", "32"];
    let few = ["--patch-size", "8", "--batch-size", "4", "--max-steps", "1", "--workers", "1"];
    let said = succeeds(&run(folder, &[&scratch[..], &few].concat()));
    assert!(said.contains("from scratch"), "{said}");
    let args = ["--init-weights", "class", "--max-steps", "1", "--out", "onwards"];
    succeeds(&tune(folder, &args));
}

#[test]
fn a_dry_run_tells_the_plan() {
    let folder = prepared();
    let said = succeeds(&tune(folder.path(), &["--dry-run"]));
    for part in ["vit-nano", "16 patches (4x4)", "GFLOP", "layer decay", "start from"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let plan = ["classify", "--recipe", "finetune-vit-base-224", "--dry-run"];
    let said = succeeds(&run(folder.path(), &plan));
    assert!(said.contains("85.80 M parameters") && said.contains("1024 images a step"), "{said}");
}

#[test]
fn labels_that_cannot_be_are_explained() {
    let folder = prepared();
    let folder = folder.path();
    class_folder(folder, "fewer", &["ant", "bee"]);
    class_folder(folder, "one", &["ant"]);
    fs::create_dir(folder.join("flat")).unwrap();
    image_folder(&folder.join("flat"));
    let with = |data: &str, val: &str| {
        tune(folder, &["--data", data, "--val-data", val, "--max-steps", "1", "--out", "x"])
    };
    fails(
        &with("fewer", "images"),
        1,
        &["the validation data", "1 of its 3 classes", "cat", "trained on are ant, bee"],
    );
    fails(&with("one", "one"), 1, &["the training data", "one class (ant)"]);
    let flat = "flat/images";
    fails(&with(flat, flat), 1, &["the training data", "has no class"]);
    // An empty class folder is no class.
    class_folder(folder, "classes", &CLASSES);
    fs::create_dir(folder.join("classes/empty")).unwrap();
    let said = succeeds(&with("classes", "classes"));
    assert!(said.contains("of 3 classes"), "{said}");
}

#[test]
fn settings_that_cannot_be_are_explained() {
    let folder = prepared();
    let folder = folder.path();
    for (args, code, parts) in [
        (&["--batch-size", "3"][..], 2, &["batch_size 3", "even"][..]),
        (&["--layer-decay", "0"], 2, &["layer_decay 0"]),
        (&["--pool", "max"], 2, &["pool", "mean"]),
        (&["--auto-augment", "rand-x1"], 2, &["rand-x1"]),
        (&["--auto-augment", "v0", "--color-jitter", "0.4"], 2, &["give one of them"]),
        (&["--remode", "noise"], 2, &["remode", "pixel"]),
        (&["--smoothing", "1"], 2, &["smoothing"]),
        (&["--reprob", "2"], 2, &["reprob 2"]),
        (&["--recipe", "demo"], 2, &["is for `mae-pretrain`", "`longmae classify`"]),
        (&["--set", "mask_unit=2"], 2, &["unknown key `mask_unit`"]),
        (&["--init-weights", "nowhere"], 1, &["nowhere"]),
        (&["--model", "vit-tiny"], 1, &["blocks.0"]),
        (&["--encoder-heads", "8"], 1, &["4 attention heads", "the run's has 8"]),
    ] {
        fails(&tune(folder, &[args, &["--out", "x"]].concat()), code, parts);
        assert!(!folder.join("x").exists(), "{args:?}");
    }
    // A run's folder says whose it is.
    let other = ["classify", "--resume", "run"];
    fails(&run(folder, &other), 1, &["is for `mae-pretrain`, this is `longmae classify`"]);
    let recipe = ["classify", "--recipe", "run/recipe.toml"];
    fails(&run(folder, &recipe), 2, &["is for `mae-pretrain`"]);
    let eval = |args: &[&str]| run(folder, &[&["classify", "--eval"], args].concat());
    fails(&eval(&["--val-data", "images"]), 2, &["--init-weights"]);
    fails(&eval(&["--init-weights", "run"]), 2, &["--val-data"]);
    let resumed = ["--init-weights", "run", "--val-data", "images", "--resume", "x"];
    fails(&eval(&resumed), 2, &["--resume", "a run that trains"]);
    let over = ["--init-weights", "run", "--val-data", "images", "--out", "run"];
    fails(&eval(&over), 1, &["--out run", "holds a run"]);
    let encoder = ["--init-weights", "run", "--val-data", "images"];
    fails(&eval(&encoder), 1, &["holds no classifier", "head.weight"]);
}

#[test]
fn weights_of_other_patches_and_channels_are_adapted_and_it_is_said() {
    let folder = prepared();
    let said = succeeds(&tune(
        folder.path(),
        &[
            "--patch-size",
            "4",
            "--channels",
            "1",
            "--auto-augment",
            "none",
            "--max-steps",
            "1",
            "--out",
            "x",
        ],
    ));
    for part in ["adapted from run", "patch_embed.proj.weight", "pos_embed"] {
        assert!(said.contains(part), "{part}: {said}");
    }
}
