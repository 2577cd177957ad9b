//! `longmae embed` and `longmae knn`: features of images, and how good they are.

mod common;

use std::fs;
use std::path::Path;
use std::process::Output;

use candle_core::{Device, Tensor};
use common::{
    CLASSES, class_folder, fails, image_folder, longmae_command, photographs, small, stdout,
    succeeds,
};
use longmae_data::rng::{Purpose, stream};
use longmae_data::{DecodeOptions, EvalTransform, Normalize, Picture, Size, Transform};
use longmae_ops::Params;
use longmae_patching::PatchGrid;
use longmae_vit::{Backbone, Preset, Vit, VitConfig};
use longmae_weights::{Checkpoint, Layout, export};
use serde_json::Value;

/// A run of one step.
fn train(folder: &Path) {
    succeeds(&small(folder, &["--data", "demo", "--max-steps", "1", "--out", "run"]));
}

fn run(folder: &Path, args: &[&str]) -> Output {
    let mut command = longmae_command(args);
    command.current_dir(folder).env("RAYON_NUM_THREADS", "1").output().unwrap()
}

fn tensor(path: &Path, name: &str) -> Tensor {
    candle_core::safetensors::load(path, &Device::Cpu).unwrap().remove(name).unwrap()
}

fn rows(tensor: &Tensor) -> Vec<Vec<f32>> {
    tensor.flatten_from(1).unwrap().to_vec2().unwrap()
}

fn distance(a: &Tensor, b: &Tensor) -> f32 {
    (a - b).unwrap().abs().unwrap().flatten_all().unwrap().max(0).unwrap().to_scalar().unwrap()
}

/// The tokens of an image by the library alone, `[17, 128]`.
fn library_tokens(weights: &Path, image: &Path) -> Tensor {
    let grid = PatchGrid::new((32, 32), 8).unwrap();
    let params = Params::new(9, &Device::Cpu);
    let vit =
        Vit::new(VitConfig { grid, channels: 3, tower: Preset::Nano.tower() }, &params).unwrap();
    let vars: Vec<_> = params.all().into_iter().map(|p| (p.name, p.var)).collect();
    Checkpoint::open(weights).unwrap().load_encoder_into(&vars).unwrap();
    let transform = EvalTransform::new(Size::square(32).unwrap(), Normalize::for_channels(3));
    let picture = Picture::encoded(fs::read(image).unwrap(), DecodeOptions::default());
    let image = transform.apply(&picture, &mut stream(0, 0, 0, Purpose::Crop)).unwrap();
    let image = Tensor::from_vec(image.data, (1, 3, 32, 32), &Device::Cpu).unwrap();
    vit.features(&image).unwrap().squeeze(0).unwrap()
}

#[test]
fn features_are_the_encoders_tokens() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    train(folder);
    class_folder(folder, "images", &CLASSES);
    let count = photographs().len();
    for (pool, shape) in
        [("class", vec![count, 128]), ("mean", vec![count, 128]), ("patches", vec![count, 16, 128])]
    {
        let out = format!("{pool}.safetensors");
        // Batches that do not divide the images.
        let args = ["embed", "run", "--data", "images", "--out", &out, "--pool", pool];
        let said = succeeds(&run(folder, &[&args[..], &["--batch-size", "5"]].concat()));
        assert!(said.contains("labels of 3 classes"), "{said}");
        let features = tensor(&folder.join(&out), "features");
        assert_eq!(features.dims(), shape);
        let names: Vec<String> = ids(&folder.join(&out));
        assert_eq!(names.len(), count);
        for (place, name) in names.iter().enumerate() {
            let tokens = library_tokens(
                &folder.join("run/encoder.safetensors"),
                &folder.join("images").join(name),
            );
            let patches = tokens.narrow(0, 1, 16).unwrap();
            let expected = match pool {
                "class" => tokens.get(0).unwrap(),
                "mean" => patches.mean(0).unwrap(),
                _ => patches,
            };
            let worst = distance(&features.get(place).unwrap(), &expected);
            assert!(worst < 2e-5, "{pool}, {name}: {worst}");
        }
    }
    let labels: Vec<i64> = tensor(&folder.join("mean.safetensors"), "labels").to_vec1().unwrap();
    let of_class =
        |name: &String| CLASSES.iter().position(|class| name.starts_with(class)).unwrap() as i64;
    let names = ids(&folder.join("mean.safetensors"));
    assert_eq!(labels, names.iter().map(of_class).collect::<Vec<_>>());

    // The same numbers as an array, from a whole model, and with other batches and workers.
    let model = "run/checkpoints/step-00000001/model.safetensors";
    let args = ["embed", model, "--data", "images", "--out", "class.npy", "--workers", "3"];
    succeeds(&run(folder, &args));
    let bytes = fs::read(folder.join("class.npy")).unwrap();
    let numbers = bytes[128..].chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap()));
    let numbers = Tensor::from_iter(numbers, &Device::Cpu).unwrap();
    let features = tensor(&folder.join("class.safetensors"), "features");
    assert!(distance(&numbers, &features.flatten_all().unwrap()) < 1e-6);
    let beside: Value =
        serde_json::from_str(&fs::read_to_string(folder.join("class.json")).unwrap()).unwrap();
    assert_eq!(beside["labels"].as_array().unwrap().len(), count);
    assert_eq!(beside["classes"], serde_json::json!(CLASSES));
}

/// The names of the images in a file.
fn ids(path: &Path) -> Vec<String> {
    let bytes = fs::read(path).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    let about = header["__metadata__"]["longmae.features"].as_str().unwrap();
    let about: Value = serde_json::from_str(about).unwrap();
    let ids = about["ids"].as_array().unwrap();
    ids.iter().map(|id| id.as_str().unwrap().to_owned()).collect()
}

#[test]
fn another_size_another_precision_and_another_layout() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    train(folder);
    image_folder(folder);
    let embed = |weights: &str, out: &str, more: &[&str]| {
        let args = ["embed", weights, "--data", "images", "--out", out];
        run(folder, &[&args[..], more].concat())
    };
    let said = succeeds(&embed("run", "a.safetensors", &[]));
    assert!(said.contains("no labels"), "{said}");
    let plain = tensor(&folder.join("a.safetensors"), "features");
    // What is there stays, unless that is not wanted.
    fails(&embed("run", "a.safetensors", &[]), 1, &["a.safetensors", "--overwrite"]);
    let again = fs::read(folder.join("a.safetensors")).unwrap();
    succeeds(&embed("run", "a.safetensors", &["--overwrite"]));
    assert!(fs::read(folder.join("a.safetensors")).unwrap() == again);

    succeeds(&embed("run", "b.safetensors", &["--precision", "bf16"]));
    let rough = tensor(&folder.join("b.safetensors"), "features");
    let far = distance(&rough, &plain);
    assert!(far > 0.0 && far < 0.1, "{far}");

    let more = ["--image-size", "32x64", "--crop", "none", "--pool", "patches"];
    let said = succeeds(&embed("run", "c.safetensors", &more));
    assert!(said.contains("adapted  pos_embed: 4 x 4 -> 4 x 8, bicubic"), "{said}");
    assert_eq!(tensor(&folder.join("c.safetensors"), "features").dims()[1..], [32, 128]);

    // timm's names without metadata: nothing is asked for that only a decoder needs.
    let checkpoint = Checkpoint::open(folder.join("run/encoder.safetensors")).unwrap();
    let tensors: Vec<_> = checkpoint
        .names()
        .map(|name| (name.to_owned(), checkpoint.tensor(name, &Device::Cpu).unwrap()))
        .collect();
    let timm = export(&tensors, checkpoint.metadata().unwrap(), Layout::Timm).unwrap();
    let timm = timm.tensors.into_iter().collect();
    candle_core::safetensors::save(&timm, folder.join("timm.safetensors")).unwrap();
    succeeds(&embed("timm.safetensors", "d.safetensors", &[]));
    assert!(distance(&tensor(&folder.join("d.safetensors"), "features"), &plain) < 1e-6);
    succeeds(&embed("timm.safetensors", "e.safetensors", &["--heads", "2"]));
    assert!(distance(&tensor(&folder.join("e.safetensors"), "features"), &plain) > 1e-3);
    let more = ["--mean", "0.5"];
    fails(&embed("timm.safetensors", "f.safetensors", &more), 1, &["--mean", "3 channels"]);
    fails(&embed("timm.safetensors", "f.safetensors", &["--heads", "5"]), 1, &["5", "128"]);
}

#[test]
fn corrupt_images_are_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    train(folder);
    let images = image_folder(folder);
    succeeds(&run(folder, &["embed", "run", "--data", "images", "--out", "all.safetensors"]));
    let all = rows(&tensor(&folder.join("all.safetensors"), "features"));
    let names = ids(&folder.join("all.safetensors"));
    for bad in [0, names.len() - 1] {
        fs::write(images.join(&names[bad]), "no image").unwrap();
    }
    let args = ["embed", "run", "--data", "images", "--out", "some.safetensors"];
    let said = succeeds(&run(folder, &[&args[..], &["--batch-size", "1"]].concat()));
    assert!(said.contains(&format!("left out  {}", names[0])), "{said}");
    let some = rows(&tensor(&folder.join("some.safetensors"), "features"));
    assert_eq!(some, all[1..names.len() - 1]);
    assert_eq!(ids(&folder.join("some.safetensors")), names[1..names.len() - 1]);
    let strict = run(folder, &[&args[..], &["--overwrite", "--max-corrupt", "1"]].concat());
    fails(&strict, 1, &["corrupt", &names[0]]);
}

#[test]
fn the_nearest_image_is_the_image_itself() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    train(folder);
    class_folder(folder, "train", &CLASSES);
    class_folder(folder, "val", &["bee", "cat"]);
    let data = ["--data", "train", "--val-data", "val", "--k", "1"];
    let said = succeeds(&run(folder, &[&["knn", "run"][..], &data].concat()));
    assert!(said.contains("val: 2 of 3 classes, told by name"), "{said}");
    assert_eq!(said.matches("top-1 100.00%  top-5 100.00%").count(), 2, "{said}");
    let json =
        |args: &[&str]| -> Value { serde_json::from_str(&succeeds(&run(folder, args))).unwrap() };
    let all = json(&[&["knn", "run", "--json"][..], &data, &["--pool", "mean"]].concat());
    assert_eq!(all["weighted"], serde_json::json!({ "top1": 1.0, "top5": 1.0 }));
    assert_eq!((all["classes"].as_u64(), all["k"].as_u64()), (Some(3), Some(1)));

    // By files: the same numbers, with and without an encoder for the other side.
    for name in ["train", "val"] {
        let out = format!("{name}.safetensors");
        succeeds(&run(folder, &["embed", "run", "--data", name, "--out", &out]));
    }
    let k = ["--k", "3", "--json"];
    let files = ["--data", "features:train.safetensors", "--val-data", "features:val.safetensors"];
    let by_images = ["knn", "run", "--data", "train", "--val-data", "val"];
    let expected = json(&[&by_images[..], &k].concat());
    assert_eq!(json(&[&["knn"][..], &files, &k].concat()), expected);
    let mixed = ["knn", "run", "--data", files[1], "--val-data", "val"];
    assert_eq!(json(&[&mixed[..], &k].concat()), expected);
    let plain = json(&[&mixed[..], &k, &["--plain"]].concat());
    assert_eq!((&plain["plain"], &plain["weighted"]), (&expected["plain"], &Value::Null));
    let other = [&mixed[..], &["--pool", "mean"]].concat();
    fails(&run(folder, &other), 1, &["train.safetensors", "`class`", "`mean`"]);
    let other = [&mixed[..], &["--image-size", "64"]].concat();
    fails(&run(folder, &other), 1, &["train.safetensors", "32x32", "64x64"]);
}

#[test]
fn mistakes_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    train(folder);
    image_folder(folder);
    class_folder(folder, "train", &CLASSES);
    class_folder(folder, "one", &["bee"]);
    class_folder(folder, "others", &["bee"]);
    fs::rename(folder.join("others/bee"), folder.join("others/dog")).unwrap();
    fs::create_dir_all(folder.join("empty/ant")).unwrap();
    fs::write(folder.join("half.safetensors"), "no such file").unwrap();
    let out = ["--out", "a.safetensors"];
    let embed = |more: &[&'static str]| [&["embed", "run", "--data", "train"][..], more].concat();
    let knn = |more: &[&'static str]| [&["knn", "run"][..], more].concat();
    let both = ["--data", "train", "--val-data", "train"];
    for (args, code, parts) in [
        (embed(&[]), 2, &["--out"][..]),
        (embed(&["--out", "a.txt"]), 2, &["a.txt", ".safetensors or .npy"]),
        (embed(&["--out", "none/a.npy"]), 1, &["none/a.npy", "no such folder"]),
        (embed(&["--out", "a.npy", "--pool", "max"]), 2, &["max", "mean"]),
        (embed(&[&out[..], &["--batch-size", "0"]].concat()), 2, &["--batch-size 0"]),
        (embed(&[&out[..], &["--crop", "random"]].concat()), 2, &["random", "center"]),
        (embed(&[&out[..], &["--precision", "fp8"]].concat()), 2, &["fp8", "bf16"]),
        (embed(&[&out[..], &["--device", "gpu"]].concat()), 2, &["device `gpu`", "cuda"]),
        (
            embed(&[&out[..], &["--device", "metal", "--precision", "bf16"]].concat()),
            2,
            &["device `metal`"],
        ),
        (embed(&[&out[..], &["--image-size", "30"]].concat()), 1, &["30"]),
        (embed(&[&out[..], &["--max-corrupt", "some"]].concat()), 2, &["some"]),
        (["embed", "none", "--data", "train"].into_iter().chain(out).collect(), 1, &["none"]),
        (["embed", "run", "--data", "none"].into_iter().chain(out).collect(), 1, &["none"]),
        (["embed", "run", "--data", "empty"].into_iter().chain(out).collect(), 1, &["empty"]),
        (knn(&["--data", "train"]), 2, &["--val-data"]),
        (knn(&[&both[..], &["--k", "0"]].concat()), 2, &["--k 0"]),
        (knn(&[&both[..], &["--k", "100"]].concat()), 1, &["k is 100", "from 1 to"]),
        (knn(&[&both[..], &["--temperature", "0"]].concat()), 2, &["--temperature 0"]),
        (knn(&[&both[..], &["--plain", "--temperature", "1"]].concat()), 2, &["--plain"]),
        (knn(&[&both[..], &["--pool", "patches"]].concat()), 2, &["patches", "mean"]),
        (knn(&["--data", "images", "--val-data", "train"]), 1, &["images: ", "has no class"]),
        (knn(&["--data", "train", "--val-data", "images"]), 1, &["images: ", "has no class"]),
        (knn(&["--data", "one", "--val-data", "one", "--k", "1"]), 1, &["of one class"]),
        (
            knn(&["--data", "train", "--val-data", "others"]),
            1,
            &["others has classes that train lacks: dog"],
        ),
        (
            knn(&["--data", "features:half.safetensors", "--val-data", "train"]),
            1,
            &["half.safetensors", "longmae embed"],
        ),
        (["knn"].into_iter().chain(both).collect(), 2, &["WEIGHTS"]),
        (knn(&["--data", "features:a", "--val-data", "features:b"]), 2, &["need no weights"]),
    ] {
        let output = run(folder, &args);
        fails(&output, code, parts);
        assert!(!stdout(&output).contains("neighbours") && !folder.join("a.safetensors").exists());
    }
}
