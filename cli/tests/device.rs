//! Where models compute: what a build without GPUs says of them, and runs that move from one device to another.

mod common;

use std::fs;
use std::path::Path;
use std::process::Output;

use common::{fails, longmae, longmae_command, losses, pretrain, small, succeeds};

/// A run of six steps in `run`, with a checkpoint after each.
fn run(folder: &Path, more: &[&str]) -> Output {
    let args = ["--data", "demo", "--max-steps", "6", "--save-every", "1", "--keep", "99"];
    small(folder, &[&args[..], more].concat())
}

fn contents(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
}

#[test]
fn the_version_tells_what_devices_there_can_be() {
    let said = succeeds(&longmae(&["--version"]));
    assert!(said.contains("devices: cpu") && said.contains("features: "), "{said}");
    assert_eq!(said.contains("devices: cpu, cuda"), cfg!(feature = "cuda"), "{said}");
}

#[test]
#[cfg(not(feature = "cuda"))]
fn a_program_without_cuda_says_how_to_get_it() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::write(folder.join("mine.toml"), "data = 'demo'\nbatch_size = 4\ndevice = 'cuda:1'\n")
        .unwrap();
    for (args, name) in [
        (&["--data", "demo", "--device", "cuda"][..], "`cuda`"),
        (&["--data", "demo", "--set", "device=cuda"], "`cuda`"),
        (&["--recipe", "mine.toml"], "`cuda:1`"),
    ] {
        fails(&pretrain(folder, args), 2, &["device", name, "--features cuda", "docs/cuda.md"]);
    }
    for args in [
        &["embed", "w", "--data", "demo", "--out", "a.npy"][..],
        &["knn", "w", "--data", "demo", "--val-data", "demo"],
        &["visualize", "w", "a.jpg", "--out", "a.png"],
        &["reconstruct", "w", "a.jpg", "--out", "a.png"],
        &["classify", "--data", "demo"],
        &["linprobe", "--data", "demo"],
        &["detect", "--data", "coco:images", "--image-size", "64"],
    ] {
        let mut command = longmae_command(args);
        let output = command.current_dir(folder).args(["--device", "cuda"]).output().unwrap();
        fails(&output, 2, &["device `cuda`", "--features cuda"]);
    }
    assert_eq!(contents(folder), ["mine.toml"], "nothing is written");
    // A plan computes nothing, and can be made anywhere.
    let plan = succeeds(&pretrain(folder, &["--recipe", "mine.toml", "--dry-run"]));
    assert!(plan.contains("estimate for the CPU's kernels"), "{plan}");
}

#[test]
#[cfg(not(feature = "cuda"))]
fn a_run_goes_on_on_another_device() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    succeeds(&run(folder, &["--out", "run"]));
    let whole = losses(&folder.join("run"));
    for later in 4..=6 {
        fs::remove_dir_all(folder.join(format!("run/checkpoints/step-{later:08}"))).unwrap();
    }
    // As if it had begun on a GPU.
    let recipe = folder.join("run/recipe.toml");
    let text = fs::read_to_string(&recipe).unwrap();
    assert!(text.contains("device = \"cpu\""), "{text}");
    fs::write(&recipe, text.replace("device = \"cpu\"", "device = \"cuda:1\"")).unwrap();
    let resumed = pretrain(folder, &["--resume", "run"]);
    fails(&resumed, 2, &["device `cuda:1`", "--features cuda"]);
    let said = succeeds(&pretrain(folder, &["--resume", "run", "--device", "cpu"]));
    assert!(said.contains("resuming"), "{said}");
    assert_eq!(losses(&folder.join("run")), whole);
}

/// Who evaluates a model has a machine of their own.
#[test]
fn files_of_models_do_not_say_where_they_were_trained() {
    let folder = tempfile::tempdir().unwrap();
    succeeds(&run(folder.path(), &["--out", "run", "--device", "cpu"]));
    let bytes = fs::read(folder.path().join("run/encoder.safetensors")).unwrap();
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header = String::from_utf8_lossy(&bytes[8..8 + header]).into_owned();
    assert!(header.contains("precision") && !header.contains("device"), "{header}");
}
