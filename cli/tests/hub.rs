//! `longmae weights push` and `pull`, against a server that stands in for the Hub.

mod common;
#[path = "../../hub/tests/common/mod.rs"]
mod server;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use common::{fails, longmae_command, small, stderr, succeeds};
use server::TOKEN;
use server::model_hub::ModelHub;

/// A run of a few steps, with a picture.
fn train(folder: &Path, more: &[&str]) {
    let args = ["--data", "synthetic", "--synthetic-images", "16", "--epochs", "2", "--out", "run"];
    let args = [&args[..], &["--pictures-every", "4"], more].concat();
    succeeds(&small(folder, &args));
}

/// `longmae weights` in this folder, with this server as the Hub.
fn weights(folder: &Path, hub: &ModelHub, args: &[&str]) -> Command {
    let mut command = longmae_command(&[&["weights"], args].concat());
    command
        .current_dir(folder)
        .env("HF_ENDPOINT", &hub.server.url)
        .env("HF_HOME", folder.join("cache"))
        .env("HF_TOKEN", TOKEN)
        .env_remove("HF_HUB_OFFLINE")
        .env_remove("HF_HUB_CACHE");
    command
}

fn run(folder: &Path, hub: &ModelHub, args: &[&str]) -> Output {
    let output = weights(folder, hub, args).output().unwrap();
    assert!(!stderr(&output).contains(TOKEN));
    output
}

#[test]
fn a_run_is_pushed_and_pulled() {
    let folder = tempfile::tempdir().unwrap();
    let (folder, hub) = (folder.path(), ModelHub::start());
    train(folder, &[]);
    let read = |name: &str| fs::read(folder.join("run").join(name)).unwrap();

    let push = ["push", "run", "hf://org/model", "--license", "apache-2.0"];
    let said = succeeds(&run(folder, &hub, &[&push[..], &["--dry-run"]].concat()));
    for part in ["encoder.safetensors", "loss.svg", "reconstruction.png", "README.md", "together"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(!said.contains("mae.safetensors"));
    assert!(hub.server.asked().is_empty() && hub.storage.asked().is_empty());

    let said = succeeds(&run(folder, &hub, &[&push[..], &["--full", "--private"]].concat()));
    assert!(said.contains(&format!("made {}/org/model", hub.server.url)), "{said}");
    assert_eq!(said.matches("  sent").count(), 8, "{said}");
    let file = |name: &str| hub.file("org/model", "main", name).unwrap();
    assert_eq!(file("encoder.safetensors"), read("encoder.safetensors"));
    assert_eq!(file("loss.svg"), read("loss.svg"));
    assert_eq!(file("reconstruction.png"), read("reconstructions/step-00000008.png"));
    assert_eq!(file("mae.safetensors"), read("checkpoints/step-00000008/model.safetensors"));
    let config = String::from_utf8(file("config.json")).unwrap();
    assert!(config.contains("\"ViTMAEForPreTraining\""), "{config}");
    let names = ["preprocessor_config.json", "model.safetensors"];
    assert!(names.iter().all(|name| !file(name).is_empty()));
    assert!(hub.state().repos["org/model"].private);
    let messages = hub.messages("org/model", "main");
    assert!(messages[1].starts_with("Weights after 8 steps, by longmae "), "{messages:?}");
    let card = String::from_utf8(file("README.md")).unwrap();
    for part in [
        "license: \"apache-2.0\"",
        "# model\n",
        "| image size I | 32 x 32 pixels, 3 channels |",
        "| mask unit | 2 x 2 patches |",
        "8 steps, 2 epochs",
        "](loss.svg)",
        "](reconstruction.png)",
        "data = \"synthetic\"",
        "longmae weights pull hf://org/model ",
        "hf_hub_download(\"org/model\", \"encoder.safetensors\")",
        "hf_hub_download(\"org/model\", \"mae.safetensors\")",
        "patch_size=8",
        "ViTMAEForPreTraining.from_pretrained(\"org/model\")",
    ] {
        assert!(card.contains(part), "{part} is not in\n{card}");
    }

    // Again: nothing is new.
    let said = succeeds(&run(folder, &hub, &[&push[..], &["--full", "--message", "x"]].concat()));
    assert_eq!(said.matches("  unchanged").count(), 8, "{said}");
    assert_eq!(hub.messages("org/model", "main").len(), 2);

    let said = succeeds(&run(folder, &hub, &["pull", "hf://org/model", "--output", "here/x"]));
    assert_eq!(said.lines().count(), 8, "{said}");
    let here = folder.join("here/x");
    assert_eq!(fs::read(here.join("encoder.safetensors")).unwrap(), read("encoder.safetensors"));
    assert_eq!(fs::read_dir(&here).unwrap().count(), 8);
    // Into the cache; offline from there.
    let said = succeeds(&run(folder, &hub, &["pull", "hf://org/model/encoder.safetensors"]));
    assert_eq!(fs::read(said.trim()).unwrap(), read("encoder.safetensors"));
    let mut offline = weights(folder, &hub, &["pull", "hf://org/model/*.safetensors"]);
    let before = hub.server.asked().len();
    let said = succeeds(&offline.env("HF_HUB_OFFLINE", "1").output().unwrap());
    assert_eq!(said.lines().count(), 3, "{said}");
    assert_eq!(hub.server.asked().len(), before);
}

#[test]
fn a_run_starts_from_weights_of_the_hub() {
    let folder = tempfile::tempdir().unwrap();
    let (folder, hub) = (folder.path(), ModelHub::start());
    train(folder, &[]);
    succeeds(&run(folder, &hub, &["push", "run", "hf://org/encoder"]));
    succeeds(&run(folder, &hub, &["push", "run", "hf://org/whole", "--full"]));
    let start = |from: &str, out: &str| {
        let mut command = common::program();
        command.args(common::SMALL).current_dir(folder);
        command.args(["--data", "synthetic", "--synthetic-images", "16", "--max-steps", "1"]);
        command.args(["--lr", "1e-30", "--allow-partial", "--init-weights", from, "--out", out]);
        command.env("HF_ENDPOINT", &hub.server.url).env("HF_HOME", folder.join("cache"));
        command.env_remove("HF_HUB_OFFLINE").env_remove("HF_HUB_CACHE").output().unwrap()
    };
    let tensors = |path: &str| {
        let checkpoint = longmae_weights::Checkpoint::open(folder.join(path)).unwrap();
        let names: Vec<String> = checkpoint.names().map(str::to_owned).collect();
        let values = names.iter().map(|name| {
            let tensor = checkpoint.tensor(name, &candle_core::Device::Cpu).unwrap();
            tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap()
        });
        names.iter().cloned().zip(values).collect::<Vec<_>>()
    };
    for (from, out) in [
        ("hf://org/encoder", "a"),
        ("hf://org/whole", "b"),
        ("hf://org/whole@main/encoder.safetensors", "c"),
    ] {
        succeeds(&start(from, out));
        // Nothing can be learned at this rate.
        let encoder = format!("{out}/encoder.safetensors");
        assert_eq!(tensors(&encoder), tensors("run/encoder.safetensors"), "{from}");
    }
    let model =
        |run: &str, step: u64| format!("{run}/checkpoints/step-{step:08}/model.safetensors");
    assert_eq!(tensors(&model("b", 1)), tensors(&model("run", 8)));
    let output = start("hf://org/encoder/*.svg", "d");
    fails(&output, 1, &["loss.svg", "safetensors"]);
    hub.state().add_repo("org/empty", false);
    fails(&start("hf://org/empty", "d"), 1, &["hf://org/empty", "mae.safetensors", "name a file"]);
}

/// transformers' weights say nothing of themselves: config.json comes with them.
#[test]
fn what_lies_beside_weights_is_fetched_with_them() {
    let folder = tempfile::tempdir().unwrap();
    let (folder, hub) = (folder.path(), ModelHub::start());
    train(folder, &[]);
    let model = folder.join("run/checkpoints/step-00000008/model.safetensors");
    let checkpoint = longmae_weights::Checkpoint::open(model).unwrap();
    let tensor = |name: &str| checkpoint.tensor(name, &candle_core::Device::Cpu).unwrap();
    let tensors: Vec<_> = checkpoint.names().map(|name| (name.to_owned(), tensor(name))).collect();
    let layout = longmae_weights::Layout::HfVitMae;
    let hf = longmae_weights::export(&tensors, checkpoint.metadata().unwrap(), layout).unwrap();
    let weights = folder.join("hf.safetensors");
    let plain: std::collections::HashMap<_, _> = hf.tensors.into_iter().collect();
    candle_core::safetensors::save(&plain, &weights).unwrap();
    let mut files = vec![longmae_hub::Upload::file("v1/model.safetensors", &weights)];
    for (name, text) in hf.files {
        files.push(longmae_hub::Upload::bytes(format!("v1/{name}"), text));
    }
    hub.state().add_repo("org/model", false);
    let client = hub.server.client("unused".as_ref()).token(TOKEN).build().unwrap();
    let options = longmae_hub::PushOptions::new("Add");
    client.push(&"hf://org/model".parse().unwrap(), &files, &options).unwrap();

    let image = common::photographs()[0].display().to_string();
    let from = "hf://org/model/v1/model.safetensors";
    let mut command = longmae_command(&["reconstruct", from, &image, "--out", "a.png"]);
    command.current_dir(folder).env("HF_ENDPOINT", &hub.server.url);
    command.env("HF_HOME", folder.join("cache")).env_remove("HF_HUB_CACHE");
    let said = succeeds(&command.env_remove("HF_HUB_OFFLINE").output().unwrap());
    assert!(said.contains("image 32x32, patch 8") && said.contains("  loss "), "{said}");
    assert!(folder.join("a.png").is_file());
}

#[test]
fn a_branch_gets_a_card_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let (folder, hub) = (folder.path(), ModelHub::start());
    train(folder, &["--no-k-bias"]);
    let args = ["push", "run", "hf://org/model@runs%2Fa", "--message", "A run"];
    succeeds(&run(folder, &hub, &args));
    assert_eq!(hub.messages("org/model", "runs/a"), ["initial commit", "A run"]);
    let card = String::from_utf8(hub.file("org/model", "runs/a", "README.md").unwrap()).unwrap();
    assert!(card.contains("hf://org/model@runs%2Fa --output"), "{card}");
    assert!(card.contains("revision=\"runs/a\"") && !card.contains("license"), "{card}");
    assert!(card.contains("keys have no bias") && !card.contains("create_model"), "{card}");
}

#[test]
fn a_push_that_was_cut_off_is_started_again() {
    let folder = tempfile::tempdir().unwrap();
    let (folder, hub) = (folder.path(), ModelHub::start());
    train(folder, &[]);
    let push = ["push", "run", "hf://org/model", "--full"];
    hub.instead("POST", "/commit/", server::Answer::new(409).body(r#"{"error":"busy"}"#));
    fails(&run(folder, &hub, &push), 1, &["model `org/model`", "busy", "nothing was committed"]);
    let said = succeeds(&run(folder, &hub, &push));
    assert_eq!(said.matches("already in the Hub's storage").count(), 4, "{said}");
    assert_eq!(hub.storage.count("PUT", ""), 4);
}

#[test]
fn mistakes_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let (folder, hub) = (folder.path(), ModelHub::start());
    fs::create_dir(folder.join("empty")).unwrap();
    fs::create_dir(folder.join("strange")).unwrap();
    fs::write(folder.join("strange/encoder.safetensors"), "no tensors").unwrap();
    for (args, code, parts) in [
        (&["push", "empty", "org/model"][..], 2, &["`org/model`", "hf://"][..]),
        (&["push", "empty", "hf://datasets/org/data"], 2, &["is a dataset"]),
        (&["push", "empty", "hf://org/model/a.txt"], 2, &["names a file"]),
        (
            &["push", "empty", "hf://org/model@0123456789abcdef0123456789abcdef01234567"],
            2,
            &["names a commit"],
        ),
        (&["push", "empty", "hf://org/model", "--license", "GPL 3"], 2, &["--license GPL 3"]),
        (&["push", "absent", "hf://org/model"], 1, &["absent: no such folder"]),
        (&["push", "empty", "hf://org/model"], 1, &["empty", "no encoder.safetensors"]),
        (&["push", "strange", "hf://org/model"], 1, &["strange/encoder.safetensors"]),
        (&["pull", "hf://datasets/org/data"], 2, &["is a dataset"]),
        (&["pull", "hf://org/absent"], 1, &["no model `org/absent`"]),
    ] {
        fails(&run(folder, &hub, args), code, parts);
    }
    hub.state().add_repo("org/model", false);
    fails(&run(folder, &hub, &["pull", "hf://org/model@v9"]), 1, &["no revision `v9`"]);
    fails(&run(folder, &hub, &["pull", "hf://org/model/x.bin"]), 1, &["there is no such file"]);
    // What is in the way of the copy.
    let file = longmae_hub::Upload::bytes("a.txt", "x");
    let client = hub.server.client("unused".as_ref()).token(TOKEN).build().unwrap();
    let options = longmae_hub::PushOptions::new("Add");
    client.push(&"hf://org/model".parse().unwrap(), &[file], &options).unwrap();
    fs::write(folder.join("file"), "").unwrap();
    let output = run(folder, &hub, &["pull", "hf://org/model", "--output", "file"]);
    fails(&output, 1, &["cannot create file"]);
    fs::create_dir_all(folder.join("full/a.txt/x")).unwrap();
    let output = run(folder, &hub, &["pull", "hf://org/model", "--output", "full"]);
    fails(&output, 1, &["cannot write full/a.txt"]);
    assert_eq!(fs::read_dir(folder.join("full")).unwrap().count(), 1, "nothing half-written");
}

#[test]
fn what_stands_in_the_way_of_a_push_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let (folder, hub) = (folder.path(), ModelHub::start());
    train(folder, &[]);
    let push = ["push", "run", "hf://org/model"];
    let output = weights(folder, &hub, &push).env("HF_HUB_OFFLINE", "1").output().unwrap();
    fails(&output, 1, &["offline", "org/model", "HF_HUB_OFFLINE"]);
    let output = weights(folder, &hub, &push).env_remove("HF_TOKEN").output().unwrap();
    fails(&output, 1, &["model `org/model`", "set HF_TOKEN"]);
    let output = run(folder, &hub, &["push", "run", "hf://theirs/model"]);
    fails(&output, 1, &["model `theirs/model`", "You don't have the rights"]);
    hub.state().add_repo("org/public", false);
    let output = run(folder, &hub, &["push", "run", "hf://org/public", "--private"]);
    fails(&output, 1, &["model `org/public`", "it is public"]);
    fs::remove_dir_all(folder.join("run/checkpoints")).unwrap();
    fails(&run(folder, &hub, &[&push[..], &["--full"]].concat()), 1, &["--full", "no checkpoint"]);
    assert!(hub.storage.asked().is_empty());
}
