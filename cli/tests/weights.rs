//! `longmae weights inspect`, `convert`, `diff` and `verify` on small models made here.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use candle_core::{DType, Device, Tensor};
use common::{fails, longmae_command, small, stdout, succeeds};
use longmae_mae::{DecoderConfig, Mae, MaeConfig};
use longmae_ops::Params;
use longmae_patching::PatchGrid;
use longmae_vit::{TowerConfig, VitConfig};
use longmae_weights::{Checkpoint, Kind, Metadata, ModelInfo, TowerInfo, save};
use serde_json::Value;

type Tensors = Vec<(String, Tensor)>;

fn info(key_bias: bool) -> ModelInfo {
    let tower = |dim, depth| TowerInfo { dim, depth, heads: 2, mlp_ratio: 4.0 };
    ModelInfo {
        image_size: [16, 16],
        patch_size: 8,
        channels: 3,
        mean: vec![0.5, 0.4, 0.3],
        std: vec![0.2, 0.2, 0.25],
        mask_unit: 1,
        mask_ratio: 0.75,
        mask_strategy: "random".into(),
        mask_count: "published".into(),
        encoder: tower(8, 2),
        decoder: Some(tower(4, 1)),
        decoder_downsampling: 1,
        pred_downsampling: 1,
        key_bias,
        norm_pix_loss: false,
        layer_norm_eps: 1e-6,
        steps: 7,
        epochs: Some(0.5),
        loss: Some(0.75),
        code_version: "0.1.0".into(),
        classifier: None,
        detector: None,
    }
}

/// A model of that size, its biases no zeros.
fn model(key_bias: bool) -> Tensors {
    let tower = |dim, depth| TowerConfig { key_bias, ..TowerConfig::new(dim, depth, 2) };
    let grid = PatchGrid::new((16, 16), 8).unwrap();
    let config = MaeConfig {
        encoder: VitConfig { grid, channels: 3, tower: tower(8, 2) },
        decoder: DecoderConfig::new(tower(4, 1)),
        norm_pix_loss: false,
    };
    let params = Params::new(1, &Device::Cpu);
    Mae::new(config, &params).unwrap();
    let tensor = |var: &Tensor| (var + 0.125).unwrap();
    params.all().into_iter().map(|p| (p.name, tensor(p.var.as_tensor()))).collect()
}

/// A file with metadata and a recipe.
fn write(path: &Path, tensors: &[(String, Tensor)], info: ModelInfo) {
    let recipe = Some("patch_size = 8\n".to_owned());
    save(path, &Metadata { kind: Kind::Full, info, recipe }, tensors).unwrap();
}

/// A file as others write it: without metadata.
fn write_plain(path: &Path, tensors: &[(String, Tensor)]) {
    let map: std::collections::HashMap<_, _> = tensors.iter().cloned().collect();
    candle_core::safetensors::save(&map, path).unwrap();
}

fn with(mut tensors: Tensors, name: &str, change: impl Fn(&Tensor) -> Tensor) -> Tensors {
    let place = tensors.iter_mut().find(|(found, _)| found == name).unwrap();
    place.1 = change(&place.1);
    tensors
}

fn weights(folder: &Path, args: &[&str]) -> Output {
    longmae_command(&[&["weights"], args].concat()).current_dir(folder).output().unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_str(&stdout(output)).unwrap()
}

fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    (folder, path)
}

/// The published form: nested under `model`, made by torch (`tests/fixtures/make_checkpoints.py`).
fn fixture(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/checkpoints");
    path.join(name).to_str().unwrap().to_owned()
}

#[test]
fn a_file_is_inspected() {
    let (_guard, folder) = folder();
    write(&folder.join("m.safetensors"), &model(true), info(true));
    let said = succeeds(&weights(&folder, &["inspect", "m.safetensors"]));
    for part in [
        "layout          mae",
        "kind            full",
        "16x16, 2 x 2 = 4 patches of 8",
        "encoder         8 wide, 2 deep, 2 heads",
        "decoder         4 wide, 1 deep, 2 heads",
        "[0.5, 0.4, 0.3]",
        "norm_pix_loss   false",
        "layer_norm_eps  1e-6",
        "steps           7",
        "loss            0.75",
        "  patch_size = 8",
        "decoder_blocks.0.attn.qkv.weight",
    ] {
        assert!(said.contains(part), "{part} is not in:\n{said}");
    }
    let found = json(&weights(&folder, &["inspect", "m.safetensors", "--json"]));
    let numbers: usize = model(true).iter().map(|(_, tensor)| tensor.elem_count()).sum();
    assert_eq!(found["parameters"], numbers);
    assert_eq!(found["bytes"], fs::metadata(folder.join("m.safetensors")).unwrap().len());
    let tensors = found["tensors"].as_array().unwrap();
    assert_eq!(tensors.len(), model(true).len());
    let norm = tensors.iter().find(|tensor| tensor["name"] == "norm.weight").unwrap();
    assert_eq!(
        (&norm["mean"], &norm["std"], &norm["max"]),
        (&1.125.into(), &0.0.into(), &1.125.into())
    );
}

#[test]
fn what_is_not_finite_is_named() {
    let (_guard, folder) = folder();
    let nan = |t: &Tensor| (t / 0.0).unwrap();
    let tensors = with(model(true), "blocks.1.norm2.bias", nan);
    write(&folder.join("m.safetensors"), &tensors, info(true));
    for command in [&["inspect", "m.safetensors"][..], &["inspect", "m.safetensors", "--json"]] {
        fails(&weights(&folder, command), 1, &["not finite", "blocks.1.norm2.bias (8)"]);
    }
    let output = weights(&folder, &["verify", "m.safetensors"]);
    fails(&output, 1, &["1 fault"]);
    assert!(stdout(&output).contains("`blocks.1.norm2.bias` has 8 numbers that are not finite"));
}

#[test]
fn every_layout_and_back_is_the_same_model() {
    let (_guard, folder) = folder();
    for key_bias in [true, false] {
        write(&folder.join("m.safetensors"), &model(key_bias), info(key_bias));
        for (to, out, encoder) in [
            ("hf-vit-mae", "hf", false),
            ("hf-vitmae", "hf-encoder", true),
            ("hf-vit", "vit", true),
            ("timm", "timm", true),
            ("timm", "timm.safetensors", true),
            ("detectron2", "d2.safetensors", true),
            ("mae", "mae.safetensors", false),
        ] {
            let only = if encoder { &["--encoder-only"][..] } else { &[] };
            let args = [&["convert", "m.safetensors", out, "--to", to, "--force"], only].concat();
            let said = succeeds(&weights(&folder, &args));
            assert!(said.contains("(mae) -> "), "{said}");
            succeeds(&weights(&folder, &["verify", out]));
            let output = weights(&folder, &["diff", "m.safetensors", out, "--json"]);
            let found = &json(&output)["differences"];
            assert_eq!(
                (&found["max_abs"], found["shapes"].as_array().unwrap().len()),
                (&0.0.into(), 0)
            );
            let lacking = found["only_a"].as_array().unwrap();
            let allowed = |name: &str| {
                name.contains("decoder")
                    || name == "mask_token"
                    || (to == "detectron2" && (name == "cls_token" || name.starts_with("norm.")))
            };
            assert!(
                lacking.iter().all(|name| encoder && allowed(name.as_str().unwrap())),
                "{to}: {found}"
            );
            assert!(found["only_b"].as_array().unwrap().is_empty(), "{to}: {found}");
            assert_eq!(output.status.code(), Some(i32::from(encoder)));
        }
        // What the conversion says of the model is what the run said.
        let file = Checkpoint::open(folder.join("hf/model.safetensors")).unwrap();
        assert_eq!(file.metadata().unwrap().recipe.as_deref(), Some("patch_size = 8\n"));
        let config = fs::read_to_string(folder.join("hf/config.json")).unwrap();
        assert!(
            config.contains("\"layer_norm_eps\": 1e-6") || config.contains("1e-06"),
            "{config}"
        );
        assert!(folder.join("hf/preprocessor_config.json").is_file());
    }
}

#[test]
fn a_published_pth_becomes_safetensors() {
    let (_guard, folder) = folder();
    let pth = fixture("mae.pth");
    let convert = ["convert", &pth, "m.safetensors", "--to", "mae"];
    fails(
        &weights(&folder, &convert),
        1,
        &["mae.pth", "--heads, --decoder-heads, --norm-pix-loss"],
    );
    assert!(!folder.join("m.safetensors").exists());
    let heads = ["--heads", "2", "--decoder-heads", "2", "--norm-pix-loss", "true"];
    succeeds(&weights(&folder, &[&convert[..], &heads].concat()));
    let said = succeeds(&weights(&folder, &["diff", &pth, "m.safetensors"]));
    assert!(said.contains("numbers differ in 0"), "{said}");
    let metadata =
        Checkpoint::open(folder.join("m.safetensors")).unwrap().metadata().cloned().unwrap();
    assert!(metadata.info.norm_pix_loss && metadata.info.encoder.heads == 2);
    // An encoder needs nothing of the decoder, and its file claims nothing of it.
    let encoder =
        ["convert", &pth, "e.safetensors", "--to", "mae", "--encoder-only", "--heads", "2"];
    succeeds(&weights(&folder, &encoder));
    let file = Checkpoint::open(folder.join("e.safetensors")).unwrap();
    let metadata = file.metadata().unwrap();
    assert_eq!((metadata.kind, &metadata.info.decoder), (Kind::Encoder, &None));
    // The file now says it, and keeps what it says.
    let again = ["convert", "m.safetensors", "n.safetensors", "--to", "mae", "--heads", "4"];
    fails(&weights(&folder, &again), 1, &["m.safetensors", "says what its model is"]);
    let odd =
        ["--image-size", "17", "--norm-pix-loss", "true", "--heads", "2", "--decoder-heads", "2"];
    let args = [&["convert", &pth, "o.safetensors", "--to", "mae"], &odd[..]].concat();
    fails(&weights(&folder, &args), 1, &["--image-size"]);
}

#[test]
fn what_a_conversion_cannot_do_is_named() {
    let (_guard, folder) = folder();
    write(&folder.join("m.safetensors"), &model(true), info(true));
    let convert = |out: &str, to: &str, more: &[&str]| {
        weights(&folder, &[&["convert", "m.safetensors", out, "--to", to], more].concat())
    };
    fails(&convert("t", "timm", &[]), 1, &["layout `timm` cannot hold `decoder_"]);
    assert!(!folder.join("t").exists());
    fails(&convert("x.safetensors", "hf-vit", &["--encoder-only"]), 2, &["name a folder"]);
    fails(&convert("x.pth", "timm", &["--encoder-only"]), 2, &["safetensors"]);
    fails(&convert("x", "mae", &[]), 2, &["ends in .safetensors"]);
    fails(&convert("x.safetensors", "keras", &[]), 2, &["keras", "hf-vit-mae"]);

    succeeds(&convert("x.safetensors", "mae", &[]));
    let before = fs::read(folder.join("x.safetensors")).unwrap();
    fails(&convert("x.safetensors", "mae", &["--encoder-only"]), 1, &["x.safetensors", "--force"]);
    assert_eq!(fs::read(folder.join("x.safetensors")).unwrap(), before);
    succeeds(&convert("x.safetensors", "mae", &["--encoder-only", "--force"]));
    assert_ne!(fs::read(folder.join("x.safetensors")).unwrap(), before);
}

#[test]
fn half_a_model_is_converted_on_request_alone() {
    let (_guard, folder) = folder();
    let mut tensors = model(true);
    tensors.retain(|(name, _)| name != "blocks.0.norm1.bias");
    tensors.push(("ema.decay".to_owned(), Tensor::ones(1, DType::F32, &Device::Cpu).unwrap()));
    write(&folder.join("m.safetensors"), &tensors, info(true));
    let convert = ["convert", "m.safetensors", "x.safetensors", "--to", "mae"];
    let parts =
        ["`blocks.0.norm1.bias` is missing", "`ema.decay` is unexpected", "--allow-partial"];
    fails(&weights(&folder, &convert), 1, &parts);
    assert!(!folder.join("x.safetensors").exists());
    let said = succeeds(&weights(&folder, &[&convert[..], &["--allow-partial"]].concat()));
    assert!(said.contains("left behind: ema.decay"), "{said}");
    assert!(said.contains("not whole: `blocks.0.norm1.bias` is missing"), "{said}");
    let written = Checkpoint::open(folder.join("x.safetensors")).unwrap();
    assert!(written.shape("ema.decay").is_none() && written.shape("norm.bias").is_some());
}

#[test]
fn differences_are_found_and_measured() {
    let (_guard, folder) = folder();
    let tensors = model(true);
    write_plain(&folder.join("a.safetensors"), &tensors);
    write_plain(&folder.join("same.safetensors"), &tensors);
    let shifted = with(tensors.clone(), "norm.weight", |t| (t + 0.5).unwrap());
    write_plain(&folder.join("shifted.safetensors"), &shifted);
    let diff =
        |b: &str, more: &[&str]| weights(&folder, &[&["diff", "a.safetensors", b], more].concat());

    let said = succeeds(&diff("same.safetensors", &[]));
    assert!(said.contains("numbers differ in 0"), "{said}");
    let output = diff("shifted.safetensors", &[]);
    fails(&output, 1, &["a.safetensors", "shifted.safetensors", "differ"]);
    // 0.5 of 1.125 each.
    assert!(
        stdout(&output).contains("numbers: norm.weight: max abs 5.000e-1, relative L2 4.444e-1"),
        "{}",
        stdout(&output)
    );
    succeeds(&diff("shifted.safetensors", &["--tolerance", "0.5"]));
    fails(&diff("shifted.safetensors", &["--tolerance", "0.4999"]), 1, &["differ"]);
    fails(&diff("shifted.safetensors", &["--tolerance=-1"]), 2, &["--tolerance"]);

    let mut other = with(tensors.clone(), "norm.bias", |t| t.narrow(0, 0, 4).unwrap());
    other = with(other, "cls_token", |t| t.to_dtype(DType::F64).unwrap());
    other.retain(|(name, _)| name != "mask_token");
    write_plain(&folder.join("other.safetensors"), &other);
    let output = diff("other.safetensors", &["--json"]);
    fails(&output, 1, &["differ"]);
    let found = json(&output);
    assert_eq!(found["equal"], false);
    let found = &found["differences"];
    assert_eq!(found["only_a"], serde_json::json!(["mask_token"]));
    assert_eq!(
        (&found["shapes"][0]["name"], &found["shapes"][0]["b"]),
        (&"norm.bias".into(), &"[4]".into())
    );
    assert_eq!(
        (&found["types"][0]["name"], &found["types"][0]["b"]),
        (&"cls_token".into(), &"f64".into())
    );
    assert!(found["numbers"].as_array().unwrap().is_empty());
}

#[test]
fn all_faults_are_listed_at_once() {
    let (_guard, folder) = folder();
    let mut tensors = with(model(true), "blocks.1.mlp.fc1.weight", |t| t.zeros_like().unwrap());
    tensors = with(tensors, "norm.weight", |t| t.zeros_like().unwrap());
    tensors = with(tensors, "blocks.0.attn.proj.bias", |t| (t * 1e30).unwrap());
    tensors = with(tensors, "blocks.0.norm2.bias", |t| t.narrow(0, 0, 3).unwrap());
    tensors.retain(|(name, _)| name != "blocks.0.norm1.bias");
    let wrong = ModelInfo { image_size: [32, 16], ..info(true) };
    let wrong = ModelInfo { encoder: TowerInfo { depth: 3, ..wrong.encoder }, ..wrong };
    write(&folder.join("m.safetensors"), &tensors, wrong);
    let args = ["verify", "m.safetensors", "--layout", "hf-vit-mae", "--model", "vit-base"];
    let output = weights(&folder, &args);
    fails(&output, 1, &["m.safetensors: 11 faults"]);
    let said = stdout(&output);
    for part in [
        "the layout is mae, expected hf-vit-mae",
        "`blocks.0.norm1.bias` is missing",
        "`blocks.0.norm2.bias` has shape [3], expected [8]",
        "encoder width 8, vit-base has 768",
        "encoder depth 2, vit-base has 12",
        "encoder MLP width 32, vit-base has 3072",
        "number of patches 4, the file's metadata has 8",
        "encoder depth 2, the file's metadata has 3",
        "`blocks.1.mlp.fc1.weight` is 0 throughout",
        "`norm.weight` is 0 throughout",
        "`blocks.0.attn.proj.bias` has a number of size",
    ] {
        assert!(said.contains(part), "{part} is not in:\n{said}");
    }
    // Keys that should have no bias and have one.
    write(&folder.join("keys.safetensors"), &model(true), info(false));
    let output = weights(&folder, &["verify", "keys.safetensors"]);
    fails(&output, 1, &["3 faults"]);
    assert!(
        stdout(&output).contains("`blocks.1.attn.qkv.bias` has a bias for keys"),
        "{}",
        stdout(&output)
    );
    // A block without its first layer is no end of the model.
    let mut cut = model(true);
    cut.retain(|(name, _)| !name.starts_with("blocks.1.mlp.fc1."));
    write_plain(&folder.join("cut.safetensors"), &cut);
    let output = weights(&folder, &["verify", "cut.safetensors"]);
    fails(&output, 1, &["2 faults"]);
    assert!(
        stdout(&output).contains("`blocks.1.mlp.fc1.weight` is missing"),
        "{}",
        stdout(&output)
    );
}

#[test]
fn a_runs_files_are_sound_until_they_are_changed() {
    let (_guard, folder) = folder();
    succeeds(&small(
        &folder,
        &["--data", "synthetic", "--synthetic-images", "8", "--max-steps", "2", "--out", "run"],
    ));
    for reference in ["run", "run/encoder.safetensors"] {
        let said = succeeds(&weights(&folder, &["verify", reference, "--model", "vit-nano"]));
        assert!(said.contains("sound (mae, "), "{said}");
    }
    let checkpoint = folder.join("run/checkpoints/step-00000002");
    let file = checkpoint.join("model.safetensors");
    let mut bytes = fs::read(&file).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&file, bytes).unwrap();
    let output = weights(&folder, &["verify", checkpoint.to_str().unwrap()]);
    fails(&output, 1, &["fault"]);
    assert!(stdout(&output).contains("checksum differs"), "{}", stdout(&output));
}

#[test]
fn files_that_are_no_weights_are_refused() {
    let (_guard, folder) = folder();
    write(&folder.join("m.safetensors"), &model(true), info(true));
    let whole = fs::read(folder.join("m.safetensors")).unwrap();
    fs::write(folder.join("cut.safetensors"), &whole[..whole.len() - 100]).unwrap();
    fs::write(folder.join("page.safetensors"), "<html>not found</html>").unwrap();
    fs::create_dir(folder.join("empty")).unwrap();
    for (file, part) in [
        ("absent.safetensors", "there is no such file"),
        ("cut.safetensors", "truncated"),
        ("page.safetensors", "a web page"),
        ("empty", "no weights in this folder"),
    ] {
        fails(&weights(&folder, &["inspect", file]), 1, &[file, part]);
        fails(&weights(&folder, &["verify", file]), 1, &[file, part]);
        fails(&weights(&folder, &["diff", "m.safetensors", file]), 1, &[file, part]);
        fails(
            &weights(&folder, &["convert", file, "x.safetensors", "--to", "mae"]),
            1,
            &[file, part],
        );
    }
    let other = vec![(
        "layers.0.weight".to_owned(),
        Tensor::ones((2, 2), DType::F32, &Device::Cpu).unwrap(),
    )];
    write_plain(&folder.join("other.safetensors"), &other);
    let said = succeeds(&weights(&folder, &["inspect", "other.safetensors"]));
    assert!(said.contains("none that is known") && said.contains("layers.0.weight"), "{said}");
    let convert = ["convert", "other.safetensors", "x.safetensors", "--to", "mae"];
    fails(&weights(&folder, &convert), 1, &["other.safetensors", "patch_embed.proj.weight"]);
    fails(&weights(&folder, &["verify", "other.safetensors"]), 1, &["2 faults"]);
    fails(&weights(&folder, &["verify", "m.safetensors", "--layout", "keras"]), 2, &["keras"]);
    fails(
        &weights(&folder, &["verify", "m.safetensors", "--model", "vit-giant"]),
        2,
        &["vit-giant", "vit-huge"],
    );
    fails(&weights(&folder, &["inspect", "hf://datasets/org/data"]), 2, &["dataset"]);
}
