//! Mistakes a user makes, each answered in a line or two with exit code 2 or 1, and nothing half-written.

mod common;

use std::fs;
use std::path::Path;

use common::{fails, image_folder, longmae, losses, pretrain, small, stderr, succeeds};

fn empty() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn is_empty(folder: &Path) -> bool {
    fs::read_dir(folder).unwrap().next().is_none()
}

#[test]
fn arguments_alone_show_the_mistake() {
    let folder = empty();
    let cases: [(&[&str], &[&str]); 44] = [
        (&["--patch-size", "7"], &["patch size 7", "does not divide", "32x32"]),
        (&["--mask-ratio", "0"], &["mask ratio 0", "above 0"]),
        (&["--mask-ratio", "1"], &["mask ratio 1"]),
        (&["--mask-ratio", "NaN"], &["mask ratio NaN"]),
        (&["--mask-unit", "5"], &["mask unit 5", "4x4"]),
        (&["--mask-unit", "0"], &["mask unit 0"]),
        (&["--mask-unit", "3", "--mask-count", "units"], &["whole mask units"]),
        (&["--mask-strategy", "grid", "--mask-ratio", "0.6"], &["0.6", "regular grid"]),
        (&["--mask-strategy", "blok"], &["`blok`", "did you mean `block`"]),
        (&["--mask-count", "unit"], &["`unit`", "did you mean `units`"]),
        (&["--device", "tpu"], &["unknown device `tpu`", "cpu, cuda, cuda:N, metal, metal:N"]),
        (&["--device", "gpu"], &["unknown device `gpu`", "say cuda"]),
        (&["--device", "cuda:first"], &["device `cuda:first`", "a number, such as cuda:0"]),
        (&["--device", "metal", "--precision", "bf16"], &["device `metal`", "fp32 alone"]),
        (&["--device", "metal", "--grad-checkpoint"], &["device `metal`", "no grad_checkpoint"]),
        (&["--precision", "fp16"], &["`fp16` is not there yet", "bf16"]),
        (&["--kernels", "fast"], &["unknown kernels `fast`", "fused, reference"]),
        (&["--kernels", "reference", "--precision", "bf16"], &["reference", "fp32 alone"]),
        (&["--kernels", "reference", "--grad-checkpoint"], &["reference", "grad_checkpoint"]),
        (&["--channels", "99999"], &["channels 99999", "1 to 4096"]),
        (&["--mask-ratio", "-1"], &["mask ratio -1"]),
        (&["--model", "vit-bas"], &["`vit-bas`", "did you mean `vit-base`"]),
        (&["--crop", "biol"], &["`biol`", "did you mean `byol`"]),
        (&["--data", "wds:"], &["`wds:`", "a place must follow the colon"]),
        (&["--data", "demo;-1*demo"], &["the weight -1"]),
        (&["--data", "hf://a/b"], &["hf://a/b", "this is a model"]),
        (&["--data", "hf://datasets/../b"], &["hf://datasets/../b"]),
        (&["--decode", "half"], &["unknown decode `half`", "full, scaled"]),
        (&["--recipe", "demmo"], &["`demmo`", "did you mean `demo`"]),
        (&["--set", "mask_unti=2"], &["unknown key `mask_unti`", "did you mean `mask_unit`"]),
        (&["--set", "epochs=many"], &["`epochs`", "many"]),
        (&["--set", "epochs"], &["expected KEY=VALUE"]),
        (&["--epochs", "0"], &["epochs 0"]),
        (&["--epochs", "NaN"], &["epochs NaN"]),
        (&["--warmup-epochs", "9", "--epochs", "3"], &["warmup_epochs 9"]),
        (&["--lr", "-1"], &["lr -1"]),
        (
            &["--accum-iter", "2", "--effective-batch-size", "9"],
            &["is 8", "effective_batch_size is 9"],
        ),
        (&["--batch-size", "0"], &["batch_size 0"]),
        (&["--mean", "0.5,0.5"], &["mean has 2 numbers for 3 channels"]),
        (&["--std", "1,1,0"], &["std"]),
        (&["--image-size", "0"], &["`0`", "224x320"]),
        (&["--max-corrupt", "some"], &["max-corrupt", "some"]),
        (&["--save-every", "often"], &["save_every `often`"]),
        (&["--decoder-heads", "5"], &["5 attention heads", "64"]),
    ];
    for (args, parts) in cases {
        let named = args.contains(&"--data") || args.contains(&"--recipe");
        let data: &[&str] = if named { &[] } else { &["--data", "demo"] };
        fails(&small(folder.path(), &[args, data].concat()), 2, parts);
        assert!(is_empty(folder.path()), "{args:?} wrote something");
    }
}

#[test]
fn a_recipe_without_data_says_so() {
    let folder = empty();
    let output = pretrain(folder.path(), &["--recipe", "mae-vit-base-224"]);
    fails(&output, 2, &["mae-vit-base-224 needs --data"]);
}

#[test]
fn a_recipe_file_is_checked_key_by_key() {
    let folder = empty();
    for (text, parts) in [
        ("mask_unitt = 2", &["mine.toml", "`mask_unitt`", "`mask_unit`"][..]),
        ("epochs = 'many'", &["mine.toml", "`epochs`", "many"]),
        ("epochs = = 3", &["mine.toml", "not TOML"]),
    ] {
        fs::write(folder.path().join("mine.toml"), text).unwrap();
        fails(&small(folder.path(), &["--recipe", "mine.toml"]), 2, parts);
    }
    fails(&small(folder.path(), &["--recipe", "none.toml"]), 1, &["none.toml", "No such file"]);
}

#[test]
fn folders_without_images() {
    let folder = empty();
    let data = folder.path().join("data");
    fails(&small(folder.path(), &["--data", "data"]), 1, &["data", "no such folder"]);
    fs::create_dir(&data).unwrap();
    fails(&small(folder.path(), &["--data", "data"]), 1, &["data", "no image in it", ".jpg"]);
    fs::write(folder.path().join("file"), "text").unwrap();
    fails(&small(folder.path(), &["--data", "file"]), 1, &["file", "not a folder"]);
    fs::copy(&common::photographs()[0], data.join("one.jpg")).unwrap();
    fails(&small(folder.path(), &["--data", "data"]), 1, &["an epoch has 1 image", "--repeat"]);
    assert!(!folder.path().join("runs").exists());
}

#[test]
fn corrupt_images_are_skipped_up_to_a_limit() {
    let folder = empty();
    let images = image_folder(folder.path());
    let good = fs::read(&common::photographs()[0]).unwrap();
    fs::write(images.join("cut.jpg"), &good[..good.len() / 2]).unwrap();
    fs::write(images.join("text.jpg"), "this is no picture").unwrap();
    fs::write(images.join("zero.png"), "").unwrap();
    // Some are met in the first batch, before the run has a log.
    for i in 0..7 {
        fs::write(images.join(format!("more-{i}.jpg")), "no picture either").unwrap();
    }
    let args = ["--data", "images", "--epochs", "3", "--out", "run"];
    let output = small(folder.path(), &args);
    let said = succeeds(&output);
    assert!(said.contains("10 images skipped as corrupt"), "{said}");
    let log = fs::read_to_string(folder.path().join("run/log.txt")).unwrap();
    for name in ["cut.jpg", "text.jpg", "zero.png", "more-0.jpg", "more-6.jpg"] {
        assert!(log.contains(name), "{name} is not in {log}");
        assert!(stderr(&output).contains(name), "{name} is not in {}", stderr(&output));
    }
    assert_eq!(losses(&folder.path().join("run")).len(), 15);

    let strict = [&args[..5], &["strict", "--max-corrupt", "1"]].concat();
    fails(&small(folder.path(), &strict), 1, &["corrupt", ".jpg"]);
}

#[test]
fn a_folder_of_nothing_but_corrupt_images_leaves_no_run() {
    let folder = empty();
    let data = folder.path().join("data");
    fs::create_dir(&data).unwrap();
    for i in 0..8 {
        fs::write(data.join(format!("{i}.jpg")), "no picture").unwrap();
    }
    fails(
        &small(folder.path(), &["--data", "data", "--out", "run"]),
        1,
        &["not one sample can be read"],
    );
    assert!(!folder.path().join("run").exists());
}

#[test]
fn a_folder_that_holds_a_run_is_not_overwritten() {
    let folder = empty();
    let args = ["--data", "demo", "--max-steps", "1", "--out", "run"];
    succeeds(&small(folder.path(), &args));
    let before = fs::read(folder.path().join("run/encoder.safetensors")).unwrap();
    fails(&small(folder.path(), &args), 1, &["run already holds a run", "--resume run"]);
    assert!(before == fs::read(folder.path().join("run/encoder.safetensors")).unwrap());
}

#[test]
fn an_output_path_below_a_file_is_refused() {
    let folder = empty();
    fs::write(folder.path().join("file"), "text").unwrap();
    let args = ["--data", "demo", "--max-steps", "1", "--out", "file/run"];
    fails(&small(folder.path(), &args), 1, &["cannot create file/run"]);
}

#[test]
fn resuming_what_cannot_be_resumed() {
    let folder = empty();
    fails(&small(folder.path(), &["--resume", "none-such"]), 1, &["none-such", "no such folder"]);
    fs::create_dir(folder.path().join("bare")).unwrap();
    fails(&small(folder.path(), &["--resume", "bare"]), 1, &["bare", "holds no run"]);

    let args = ["--data", "demo", "--max-steps", "2", "--out", "run"];
    succeeds(&small(folder.path(), &args));
    fails(
        &pretrain(folder.path(), &["--resume", "run", "--seed", "5", "--mask-unit", "1"]),
        1,
        &["begun with other settings", "seed was 0, now 5", "mask_unit was 2, now 1"],
    );
    let model = folder.path().join("run/checkpoints/step-00000002/model.safetensors");
    let bytes = fs::read(&model).unwrap();
    fs::write(&model, &bytes[..bytes.len() / 2]).unwrap();
    fails(&pretrain(folder.path(), &["--resume", "run"]), 1, &["no usable checkpoint"]);
}

#[test]
fn weights_that_do_not_fit() {
    let folder = empty();
    let base = ["--data", "demo", "--max-steps", "1"];
    succeeds(&small(folder.path(), &[&base[..], &["--out", "run"]].concat()));
    let start =
        |more: &[&str]| small(folder.path(), &[&base[..], &["--out", "next"], more].concat());
    let encoder = "run/encoder.safetensors";
    fails(&start(&["--init-weights", "none"]), 1, &["none"]);
    fails(&start(&["--allow-partial"]), 2, &["allow_partial", "init_weights"]);
    let heads = ["--init-weights", "run", "--decoder-heads", "2"];
    fails(&start(&heads), 1, &["model.safetensors", "4 attention heads", "--decoder-heads"]);
    fails(
        &start(&["--init-weights", encoder, "--allow-partial", "--model", "vit-tiny"]),
        1,
        &["nothing was loaded"],
    );
    fails(
        &start(&["--init-weights", encoder, "--model", "vit-tiny"]),
        1,
        &["encoder.safetensors", "blocks.0"],
    );
    let depth = ["--init-weights", "run", "--image-size", "64", "--decoder-depth", "2"];
    fails(&start(&depth), 1, &["model.safetensors", "decoder_blocks.1"]);
    fails(
        &start(&["--init-weights", "hf://datasets/a/b"]),
        2,
        &["`hf://datasets/a/b` is a dataset"],
    );
    let bytes = fs::read(folder.path().join(encoder)).unwrap();
    fs::write(folder.path().join("cut.safetensors"), &bytes[..bytes.len() - 100]).unwrap();
    fails(&start(&["--init-weights", "cut.safetensors"]), 1, &["cut.safetensors", "truncated"]);
    fs::write(folder.path().join("text.safetensors"), "hello").unwrap();
    fails(&start(&["--init-weights", "text.safetensors"]), 1, &["text.safetensors"]);
    assert!(!folder.path().join("next").exists());
}

#[test]
fn a_single_pixel_is_no_picture() {
    let folder = empty();
    let data = folder.path().join("data");
    fs::create_dir(&data).unwrap();
    for i in 0..4 {
        let pixel = longmae_report::RgbImage::new(1, 1);
        longmae_report::write_png(data.join(format!("{i}.png")), &pixel).unwrap();
    }
    let output = small(folder.path(), &["--data", "data", "--max-steps", "1", "--out", "run"]);
    fails(&output, 1, &["not one sample can be read", "single pixel"]);
    assert!(!folder.path().join("run").exists());
}

#[test]
fn two_processes_cannot_train_in_one_folder() {
    let folder = empty();
    let args = ["--data", "demo", "--max-steps", "1", "--out", "run"];
    succeeds(&small(folder.path(), &args));
    let held = fs::File::open(folder.path().join("run/recipe.toml")).unwrap();
    held.try_lock().unwrap();
    fails(
        &pretrain(folder.path(), &["--resume", "run"]),
        1,
        &["another process is training in run"],
    );
}

#[test]
fn data_that_changed_under_a_run_is_noticed() {
    let folder = empty();
    let images = image_folder(folder.path());
    let args = [
        "--data",
        "images",
        "--max-steps",
        "2",
        "--save-every",
        "1",
        "--keep",
        "9",
        "--out",
        "run",
    ];
    succeeds(&small(folder.path(), &args));
    fs::remove_dir_all(folder.path().join("run/checkpoints/step-00000002")).unwrap();
    fs::copy(&common::photographs()[0], images.join("one-more.jpg")).unwrap();
    fails(&pretrain(folder.path(), &["--resume", "run"]), 1, &["12 images then, 13 now"]);
}

#[test]
fn recipes_are_listed_and_shown() {
    let list = succeeds(&longmae(&["recipes", "list"]));
    assert!(list.contains("long-vit-base-448") && list.lines().count() >= 6, "{list}");
    let shown = succeeds(&longmae(&["recipes", "show", "demo"]));
    assert!(shown.contains("data = \"demo\""), "{shown}");
    fails(&longmae(&["recipes", "show", "demmo"]), 2, &["did you mean `demo`"]);
    fails(&longmae(&["recipe"]), 2, &["recipes"]);
}
