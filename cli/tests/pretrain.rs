//! `mae-pretrain` as a user runs it.

mod common;

use std::fs;
use std::path::Path;

use common::{
    SMALL, fails, image_folder, losses, pretrain, program, records, small, stdout, succeeds,
};
use longmae_weights::{Checkpoint, Kind};

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn the_demo_leaves_a_whole_run_folder() {
    let folder = tempfile::tempdir().unwrap();
    let said = succeeds(&pretrain(folder.path(), &["--max-steps", "3", "--workers", "1"]));
    let runs = names(&folder.path().join("runs"));
    assert!(runs.len() == 1 && runs[0].starts_with("demo-"), "{runs:?}");
    let run = folder.path().join("runs").join(&runs[0]);
    let found = names(&run);
    let expected = [
        "checkpoints",
        "encoder.safetensors",
        "events.out",
        "log.txt",
        "loss.svg",
        "metrics.jsonl",
        "recipe.toml",
        "reconstructions",
    ];
    assert_eq!(found.len(), expected.len(), "{found:?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.starts_with(expected), "{found} {expected}");
    }
    assert_eq!(names(&run.join("checkpoints")), ["step-00000003"]);
    assert_eq!(
        names(&run.join("checkpoints/step-00000003")),
        ["model.safetensors", "optimizer.safetensors", "state.json", "state.json.sha256"]
    );
    assert_eq!(
        names(&run.join("reconstructions")),
        ["step-00000001.png", "step-00000002.png", "step-00000003.png"]
    );
    assert_eq!(losses(&run).len(), 3);
    for part in ["encoder.safetensors", "loss.svg", "next:", "step 3/3"] {
        assert!(said.contains(part), "{said}");
    }
    let record = &records(&run, "train")[0];
    for key in [
        "step",
        "epoch",
        "loss",
        "lr",
        "grad_norm",
        "step_seconds",
        "data_seconds",
        "images_per_second",
        "rss_mb",
    ] {
        assert!(record[key].is_number(), "{key} in {record}");
    }
}

#[test]
fn weight_files_say_what_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let args = ["--data", "synthetic", "--synthetic-images", "8", "--epochs", "1", "--out", "run"];
    succeeds(&small(folder.path(), &args));
    let run = folder.path().join("run");
    let encoder = Checkpoint::open(run.join("encoder.safetensors")).unwrap();
    assert_eq!(encoder.kind(), Some(Kind::Encoder));
    assert!(encoder.names().any(|name| name == "blocks.0.attn.qkv.weight"));
    assert!(encoder.names().all(|name| !name.starts_with("decoder") && name != "mask_token"));
    let model = Checkpoint::open(run.join("checkpoints/step-00000002/model.safetensors")).unwrap();
    assert_eq!(model.kind(), Some(Kind::Full));
    let metadata = model.metadata().unwrap();
    let info = &metadata.info;
    assert_eq!((info.image_size, info.patch_size, info.mask_unit), ([32, 32], 8, 2));
    assert_eq!((info.steps, info.mean.as_slice()), (2, [0.485, 0.456, 0.406].as_slice()));
    assert!(metadata.recipe.as_ref().unwrap().contains("mask_unit = 2"));
    let written = fs::read_to_string(run.join("recipe.toml")).unwrap();
    assert!(written.contains("epochs = 1.0") && written.contains("seed = 0"), "{written}");
}

#[test]
fn the_number_of_workers_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let images = image_folder(folder.path());
    let images = images.to_str().unwrap();
    for workers in ["1", "4"] {
        let args = [
            "--data",
            images,
            "--repeat",
            "2",
            "--epochs",
            "2",
            "--out",
            workers,
            "--drop-path",
            "0.2",
        ];
        succeeds(&small(folder.path(), &[&args[..], &["--workers", workers][..]].concat()));
    }
    let [one, four] = ["1", "4"].map(|workers| losses(&folder.path().join(workers)));
    assert_eq!(one.len(), 12);
    assert_eq!(one, four);
    let encoders = ["1", "4"]
        .map(|run| fs::read(folder.path().join(run).join("encoder.safetensors")).unwrap());
    assert!(encoders[0] == encoders[1]);
}

#[test]
fn a_resumed_run_equals_the_uninterrupted_one() {
    let folder = tempfile::tempdir().unwrap();
    let common = ["--data", "demo", "--repeat", "4", "--epochs", "2", "--accum-iter", "2"];
    let whole = [&common[..], &["--out", "whole"]].concat();
    succeeds(&small(folder.path(), &whole));
    // A checkpoint after step 5 is what a run killed later goes on from.
    let cut = [&common[..], &["--out", "cut", "--save-every", "5", "--keep", "9"]].concat();
    succeeds(&small(folder.path(), &cut));
    let run = folder.path().join("cut");
    fs::remove_dir_all(run.join("checkpoints/step-00000010")).unwrap();
    fs::remove_dir_all(run.join("checkpoints/step-00000012")).unwrap();
    fs::remove_file(run.join("encoder.safetensors")).unwrap();
    let said = succeeds(&pretrain(folder.path(), &["--resume", "cut"]));
    assert!(said.contains("resuming"), "{said}");
    assert_eq!(losses(&folder.path().join("whole")), losses(&run));
    let encoder =
        |run: &str| fs::read(folder.path().join(run).join("encoder.safetensors")).unwrap();
    let tensors = |bytes: Vec<u8>| {
        let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        bytes[8 + header..].to_vec()
    };
    assert!(tensors(encoder("whole")) == tensors(encoder("cut")));
    // Once more: nothing is left to do.
    assert!(succeeds(&pretrain(folder.path(), &["--resume", "cut"])).contains("is finished"));
}

#[test]
fn resume_auto_starts_and_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let args = [
        "--resume",
        "auto",
        "--out",
        "run",
        "--data",
        "demo",
        "--epochs",
        "2",
        "--save-every",
        "2",
    ];
    assert!(succeeds(&small(folder.path(), &args)).contains("training"));
    let run = folder.path().join("run");
    fs::remove_dir_all(run.join("checkpoints/step-00000006")).unwrap();
    assert!(succeeds(&small(folder.path(), &args)).contains("resuming"));
    assert_eq!(losses(&run).len(), 6);
    assert_eq!(records(&run, "resume").len(), 1);
}

#[test]
fn validation_uses_fixed_masks() {
    let folder = tempfile::tempdir().unwrap();
    let args =
        ["--data", "demo", "--val-share", "0.25", "--epochs", "2", "--lr", "1e-30", "--out", "run"];
    succeeds(&small(folder.path(), &args));
    let evals = records(&folder.path().join("run"), "eval");
    assert_eq!(evals.len(), 2);
    // With weights that all but stand still, the same masks give the same loss.
    let loss = |i: usize| evals[i]["loss"].as_f64().unwrap();
    assert!((loss(0) - loss(1)).abs() < 1e-6, "{evals:?}");
}

#[test]
fn the_best_checkpoint_and_the_average_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let args = [
        "--data",
        "demo",
        "--val-share",
        "0.25",
        "--epochs",
        "4",
        "--save-every",
        "1000",
        "--keep",
        "1",
        "--ema",
        "0.9",
        "--rollback",
        "100",
        "--pictures-every",
        "2e",
        "--out",
        "run",
    ];
    let said = succeeds(&small(folder.path(), &args));
    let run = folder.path().join("run");
    let evals = records(&run, "eval");
    let best = evals
        .iter()
        .min_by(|a, b| a["loss"].as_f64().unwrap().total_cmp(&b["loss"].as_f64().unwrap()))
        .unwrap();
    let best = format!("step-{:08}", best["step"].as_u64().unwrap());
    assert!(said.contains("best validation loss") && said.contains(&best), "{said}");
    let kept = names(&run.join("checkpoints"));
    assert!(kept.contains(&best) && kept.contains(&"step-00000008".to_owned()), "{kept:?}");
    // The average lags behind the weights: another loss, another encoder.
    let averaged = records(&run, "eval_ema");
    assert_eq!(averaged.len(), 4);
    assert_ne!(averaged[3]["loss"], evals[3]["loss"]);
    let [encoder, ema] = ["encoder.safetensors", "encoder-ema.safetensors"]
        .map(|name| fs::read(run.join(name)).unwrap());
    assert!(encoder.len() == ema.len() && encoder != ema);
    assert!(Checkpoint::open(run.join("encoder-ema.safetensors")).is_ok());
    assert_eq!(names(&run.join("reconstructions")), ["step-00000004.png", "step-00000008.png"]);
}

#[test]
fn corrupt_validation_images_are_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let images = image_folder(folder.path());
    fs::write(images.join("bad.jpg"), "no picture").unwrap();
    let args = [
        "--data",
        "demo",
        "--val-data",
        "images",
        "--epochs",
        "2",
        "--lr",
        "1e-30",
        "--out",
        "run",
    ];
    let output = small(folder.path(), &args);
    succeeds(&output);
    let warned = common::stderr(&output).matches("bad.jpg").count();
    assert_eq!(warned, 1, "{}", common::stderr(&output));
    let evals = records(&folder.path().join("run"), "eval");
    let loss = |i: usize| evals[i]["loss"].as_f64().unwrap();
    assert!((loss(0) - loss(1)).abs() < 1e-6, "{evals:?}");
}

#[test]
fn init_weights_takes_a_model_an_encoder_or_a_run() {
    let folder = tempfile::tempdir().unwrap();
    let base = ["--data", "demo", "--max-steps", "2"];
    succeeds(&small(folder.path(), &[&base[..], &["--out", "first"]].concat()));
    for (name, weights, partial) in [
        ("run", "first", false),
        ("model", "first/checkpoints/step-00000002/model.safetensors", false),
        ("encoder", "first/encoder.safetensors", true),
    ] {
        let mut args = [&base[..], &["--out", name, "--init-weights", weights]].concat();
        if partial {
            let refused = small(folder.path(), &args);
            fails(&refused, 1, &["an encoder alone", "--allow-partial"]);
            args.push("--allow-partial");
        }
        let said = succeeds(&small(folder.path(), &args));
        let left = "left at its initial value: 20 tensors (decoder_embed.weight, ";
        assert_eq!(said.contains(left), partial, "{said}");
        let (first, second) =
            (losses(&folder.path().join("first")), losses(&folder.path().join(name)));
        assert_ne!(first[0], second[0], "{name}: the loaded weights are in use");
    }
    let starts = ["run", "model"].map(|name| losses(&folder.path().join(name))[0]);
    assert_eq!(starts[0], starts[1]);
}

#[test]
fn init_weights_of_another_grid_patch_size_or_channels_are_adapted() {
    let folder = tempfile::tempdir().unwrap();
    let base = ["--data", "demo", "--max-steps", "1"];
    succeeds(&small(folder.path(), &[&base[..], &["--out", "short"]].concat()));
    let positions = "pos_embed: 4 x 4 -> 8 x 8, bicubic";
    let decoder_positions = "decoder_pos_embed: 4 x 4 -> 8 x 8, bicubic";
    let left = |name: &str, outputs: usize| {
        format!(
            "decoder_pred.{name}: 192 outputs in the file, {outputs} in the model: left at its start"
        )
    };
    let patch = "patch_embed.proj.weight: patch 8 -> 4, pseudo-inverse";
    let channels = "patch_embed.proj.weight: channels 3 -> 1, summed";
    let file = "short/encoder.safetensors";
    for (name, weights, args, expected) in [
        (
            "long",
            "short",
            &["--image-size", "64", "--mask-unit", "4"][..],
            vec![positions.to_owned(), decoder_positions.to_owned()],
        ),
        ("encoder", file, &["--image-size", "64", "--allow-partial"], vec![positions.to_owned()]),
        (
            "fine",
            "short",
            &["--patch-size", "4"],
            vec![
                positions.to_owned(),
                patch.to_owned(),
                decoder_positions.to_owned(),
                left("weight", 48),
                left("bias", 48),
            ],
        ),
        (
            "grey",
            "short",
            &["--channels", "1"],
            vec![channels.to_owned(), left("weight", 64), left("bias", 64)],
        ),
        ("unit", "short", &["--mask-unit", "1"], vec![]),
    ] {
        let args = [&base[..], &["--out", name, "--init-weights", weights], args].concat();
        let said = succeeds(&small(folder.path(), &args));
        let run = folder.path().join(name);
        assert!(losses(&run)[0].1.is_finite());
        let heading = format!("adapted from {weights}:");
        let mut lines = said.lines().skip_while(|line| **line != heading);
        assert_eq!(lines.next().is_some(), !expected.is_empty(), "{name}: {said}");
        let found: Vec<&str> = lines.map_while(|line| line.strip_prefix("  ")).collect();
        assert_eq!(found, expected, "{name}: {said}");
        // What was adapted is the run's own from then on.
        succeeds(&pretrain(folder.path(), &["--resume", name]));
        let log = fs::read_to_string(run.join("log.txt")).unwrap();
        assert_eq!(log.matches("adapted from").count(), usize::from(!expected.is_empty()), "{log}");
    }
}

#[test]
fn a_run_cut_off_before_its_first_checkpoint_starts_the_same_again() {
    let folder = tempfile::tempdir().unwrap();
    let base = ["--data", "demo", "--max-steps", "2"];
    succeeds(&small(folder.path(), &[&base[..], &["--out", "first"]].concat()));
    let next = ["--out", "next", "--init-weights", "first"];
    succeeds(&small(folder.path(), &[&base[..], &next].concat()));
    let run = folder.path().join("next");
    let before = losses(&run);
    fs::remove_dir_all(run.join("checkpoints")).unwrap();
    succeeds(&pretrain(folder.path(), &["--resume", "next"]));
    assert_eq!(before, losses(&run), "the weights to start from are part of the recipe");
}

#[test]
fn channels_and_oblong_images() {
    let folder = tempfile::tempdir().unwrap();
    for (name, args) in [
        ("grey", &["--channels", "1"][..]),
        ("oblong", &["--image-size", "32x48"]),
        ("raw", &["--norm-pix-loss", "false", "--crop", "none", "--flip", "false"]),
        ("short", &["--decoder-downsampling", "2", "--patch-size", "4", "--no-k-bias"]),
        ("block", &["--mask-strategy", "block", "--patch-size", "4", "--mask-count", "units"]),
    ] {
        let base = ["--data", "demo", "--max-steps", "2", "--out", name];
        succeeds(&small(folder.path(), &[&base[..], args].concat()));
        assert!(losses(&folder.path().join(name)).iter().all(|(_, loss)| loss.is_finite()));
    }
}

#[test]
fn a_dry_run_prints_the_plan_and_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let said = succeeds(&pretrain(folder.path(), &["--recipe", "long-vit-base-448", "--dry-run"]));
    for part in [
        "784 patches (28x28)",
        "197 tokens",
        "785 tokens",
        "M parameters",
        "GFLOP",
        "GB",
        "196 units",
    ] {
        assert!(said.contains(part), "`{part}` is not in {said}");
    }
    let args = ["--dry-run", "--data", "demo", "--epochs", "4", "--save-every", "2"];
    let said = succeeds(&small(folder.path(), &args));
    for part in ["12 (3 an epoch", "after steps 2, 4, 6, ... 12 (6 in all)"] {
        assert!(said.contains(part), "`{part}` is not in {said}");
    }
    assert!(names(folder.path()).is_empty());
}

#[test]
fn maes_spellings_are_understood() {
    let folder = tempfile::tempdir().unwrap();
    let args = [
        "--data_path",
        "demo",
        "--input_size",
        "32",
        "--output_dir",
        "run",
        "--mask_downsampling",
        "2",
        "--num_workers",
        "1",
        "--model",
        "vit-nano",
        "--patch_size",
        "8",
        "--batch_size",
        "4",
        "--mask_ratio",
        "0.5",
        "--norm_pix_loss",
        "--warmup_epochs",
        "0",
        "--accum_iter",
        "1",
        "--max-steps",
        "1",
    ];
    succeeds(&pretrain(folder.path(), &args));
    let recipe = fs::read_to_string(folder.path().join("run/recipe.toml")).unwrap();
    assert!(
        recipe.contains("mask_unit = 2") && recipe.contains("norm_pix_loss = true"),
        "{recipe}"
    );
}

#[test]
fn threads_are_limited() {
    let folder = tempfile::tempdir().unwrap();
    let args = ["--data", "demo", "--max-steps", "1", "--out", "run", "--threads", "1"];
    let mut command = program();
    command.env_remove("RAYON_NUM_THREADS").current_dir(folder.path()).args(SMALL).args(args);
    succeeds(&command.output().unwrap());
    assert_eq!(losses(&folder.path().join("run")).len(), 1);
}

#[cfg(unix)]
#[test]
fn an_interrupt_saves_and_says_how_to_go_on() {
    use std::process::{Command, Stdio};
    use std::time::{Duration, Instant};

    let folder = tempfile::tempdir().unwrap();
    let args = ["--data", "demo", "--epochs", "100000", "--out", "run"];
    let mut child = program()
        .current_dir(folder.path())
        .args(SMALL)
        .args(args)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let metrics = folder.path().join("run/metrics.jsonl");
    let began = Instant::now();
    while fs::read_to_string(&metrics).map_or(0, |text| text.lines().count()) < 3 {
        assert!(began.elapsed() < Duration::from_secs(100), "no step was done");
        assert!(child.try_wait().unwrap().is_none(), "the run ended by itself");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(
        Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success()
    );
    let output = child.wait_with_output().unwrap();
    let said = stdout(&output);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("go on with: mae-pretrain --resume run"), "{said}");
    let done = losses(&folder.path().join("run")).len();
    let saved = names(&folder.path().join("run/checkpoints"));
    assert_eq!(saved, [format!("step-{done:08}")]);
}
