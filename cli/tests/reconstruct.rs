//! `longmae reconstruct`: a picture of what a model sees and predicts.

mod common;

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::process::Output;

use candle_core::{Device, Tensor};
use common::{fails, image_folder, longmae_command, photographs, small, stdout, succeeds};
use longmae_data::rng::{Purpose, stream};
use longmae_data::{
    DecodeOptions, EvalTransform, Image, Normalize, Picture, Pixels, Size, Transform, decode,
};
use longmae_mae::{DecoderConfig, Mae, MaeConfig};
use longmae_masking::{MaskBatch, MaskCount, MaskDesign};
use longmae_ops::Params;
use longmae_patching::PatchGrid;
use longmae_vit::{Preset, TowerConfig, VitConfig};
use longmae_weights::{Checkpoint, Layout, export};

/// A cell of the picture: images of 32 x 32 are shown five times as large.
const CELL: usize = 160;
const MARGIN: usize = 28;
const GAP: usize = 14;
const MODEL: &str = "run/checkpoints/step-00000002/model.safetensors";

/// A run of two steps; its model predicts normalised pixels unless `args` say otherwise.
fn train(folder: &Path, args: &[&str]) {
    let base = ["--data", "demo", "--max-steps", "2", "--out", "run"];
    succeeds(&small(folder, &[&base[..], args].concat()));
}

fn reconstruct(folder: &Path, args: &[&str]) -> Output {
    let mut command = longmae_command(&[&["reconstruct"], args].concat());
    command.current_dir(folder).env("RAYON_NUM_THREADS", "1").output().unwrap()
}

fn read(path: &Path) -> Image {
    decode(&fs::read(path).unwrap(), &DecodeOptions::default()).unwrap()
}

/// A pixel of a panel, by its place in the model's own image.
fn pixel(
    sheet: &Image,
    (rows, row): (usize, usize),
    column: usize,
    (x, y): (usize, usize),
) -> [u8; 3] {
    let Pixels::U8(bytes) = &sheet.pixels else { panic!("bytes expected") };
    let top = sheet.height - MARGIN - (rows - row) * CELL - (rows - row - 1) * GAP;
    let left = MARGIN + column * (CELL + GAP);
    let at = ((top + 5 * y + 2) * sheet.width + left + 5 * x + 2) * 3;
    [bytes[at], bytes[at + 1], bytes[at + 2]]
}

/// The losses that were printed, with the names.
fn losses(said: &str) -> Vec<(String, f32)> {
    let lines = said.lines().filter_map(|line| line.split_once("  loss "));
    lines.map(|(name, loss)| (name.to_owned(), loss.parse().unwrap())).collect()
}

#[test]
fn a_row_is_original_masked_prediction_and_pasted() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    train(folder, &[]);
    image_folder(folder);
    let count = photographs().len();
    let args = ["run", "images", "--out", "a.png", "--seed", "5"];
    let said = succeeds(&reconstruct(folder, &args));
    assert!(said.contains("random, ratio 0.75, unit 2, seed 5"), "{said}");
    assert!(said.contains("mean and std of each patch are taken from the original"), "{said}");
    assert_eq!(losses(&said).len(), count);

    let sheet = read(&folder.join("a.png"));
    assert_eq!(sheet.width, 2 * MARGIN + 4 * CELL + 3 * GAP);
    assert!(sheet.height > count * (CELL + GAP));
    for row in 0..count {
        let mut visible = 0;
        for (x, y) in (0..32).flat_map(|y| (0..32).map(move |x| (x, y))) {
            let [original, masked, prediction, pasted] =
                [0, 1, 2, 3].map(|column| pixel(&sheet, (count, row), column, (x, y)));
            if masked == original && pasted == original {
                visible += 1;
            } else {
                assert_eq!((masked, pasted), ([128; 3], prediction), "{row}: {x}, {y}");
            }
        }
        // A quarter; a hidden pixel can be grey and well predicted by chance.
        assert!((256..256 + 20).contains(&visible), "{visible}");
    }

    let bytes = |name: &str| fs::read(folder.join(name)).unwrap();
    succeeds(&reconstruct(folder, &[&args[..4], &["--seed", "5"]].concat()));
    let first = bytes("a.png");
    succeeds(&reconstruct(folder, &["run", "images", "--out", "b.png", "--seed", "5"]));
    succeeds(&reconstruct(folder, &["run", "images", "--out", "c.png", "--seed", "6"]));
    assert!(bytes("b.png") == first && bytes("c.png") != first);

    // The same losses by the library alone.
    let found = losses(&said);
    for (number, (name, loss)) in found.iter().enumerate() {
        let expected = library_loss(&folder.join(MODEL), &folder.join(name), number as u64);
        assert!((loss - expected).abs() < 1e-5, "{name}: {loss}, {expected}");
    }
}

/// The loss of an image, masked with seed 5.
fn library_loss(weights: &Path, image: &Path, number: u64) -> f32 {
    let grid = PatchGrid::new((32, 32), 8).unwrap();
    let decoder = DecoderConfig::new(TowerConfig::new(64, 1, 4));
    let encoder = VitConfig { grid, channels: 3, tower: Preset::Nano.tower() };
    let params = Params::new(9, &Device::Cpu);
    let mae = Mae::new(MaeConfig { encoder, decoder, norm_pix_loss: true }, &params).unwrap();
    let vars: Vec<_> = params.all().into_iter().map(|p| (p.name, p.var)).collect();
    Checkpoint::open(weights).unwrap().load_into(&vars).unwrap();
    let transform = EvalTransform::new(Size::square(32).unwrap(), Normalize::for_channels(3));
    let picture = Picture::encoded(fs::read(image).unwrap(), DecodeOptions::default());
    let mut rng = stream(5, 0, number, Purpose::Mask);
    let image = transform.apply(&picture, &mut rng).unwrap();
    let design = MaskDesign { unit: 2, ratio: 0.75, count: MaskCount::Published };
    let plan = design.strategy("random").unwrap().plan(grid, &mut rng).unwrap();
    let masks = MaskBatch::stack(&[plan], &Device::Cpu).unwrap();
    let image = Tensor::from_vec(image.data, (1, 3, 32, 32), &Device::Cpu).unwrap();
    mae.forward(&image, &masks, None).unwrap().loss.to_scalar().unwrap()
}

#[test]
fn masks_and_image_size_can_be_others() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    train(folder, &["--norm-pix-loss", "false"]);
    let image = photographs()[0].display().to_string();
    let args = [MODEL, &image, "--out", "a.png"];
    let said = succeeds(&reconstruct(folder, &args));
    assert!(said.contains("pixels just as the model gives them"), "{said}");
    let more = ["--mask-ratio", "0.5", "--mask-unit", "1", "--mask-strategy", "block"];
    let said = succeeds(&reconstruct(folder, &[&args[..], &more].concat()));
    assert!(said.contains("block, ratio 0.5, unit 1"), "{said}");
    let more = ["--image-size", "64x96", "--crop", "none"];
    let said = succeeds(&reconstruct(folder, &[&args[..], &more].concat()));
    assert!(said.contains("adapted  pos_embed: 4 x 4 -> 8 x 12, bicubic"), "{said}");
    assert!(said.contains("adapted  decoder_pos_embed: 4 x 4 -> 8 x 12, bicubic"), "{said}");
    // 96 x 64 are shown twice as large.
    assert_eq!(read(&folder.join("a.png")).width, 2 * MARGIN + 4 * 192 + 3 * GAP);
}

#[test]
fn other_layouts_say_the_same_and_what_they_lack_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    train(folder, &[]);
    let image = photographs()[1].display().to_string();
    let args = |weights: &str, more: &[&str]| {
        reconstruct(
            folder,
            &[&[weights, &image, "--out", "a.png", "--mask-unit", "2"], more].concat(),
        )
    };
    let expected = losses(&succeeds(&args("run", &[])));
    let checkpoint = Checkpoint::open(folder.join(MODEL)).unwrap();
    let tensors: Vec<_> = checkpoint
        .names()
        .map(|name| (name.to_owned(), checkpoint.tensor(name, &Device::Cpu).unwrap()))
        .collect();
    // transformers': without our metadata, config.json says what is needed.
    let hf = export(&tensors, checkpoint.metadata().unwrap(), Layout::HfVitMae).unwrap();
    hf.save_folder(folder.join("hf")).unwrap();
    let plain: HashMap<String, Tensor> = hf.tensors.into_iter().collect();
    candle_core::safetensors::save(&plain, folder.join("hf/model.safetensors")).unwrap();
    let close = |output: &Output| {
        let found = losses(&succeeds(output));
        assert!((found[0].1 - expected[0].1).abs() < 1e-5, "{found:?}, {expected:?}");
    };
    close(&args("hf", &[]));
    // MAE's names alone: a decoder with other heads than usual, and nothing about the target.
    let plain: HashMap<String, Tensor> = tensors.into_iter().collect();
    candle_core::safetensors::save(&plain, folder.join("mae.safetensors")).unwrap();
    fails(
        &args("mae.safetensors", &[]),
        1,
        &["mae.safetensors", "norm_pix_loss", "--norm-pix-loss"],
    );
    close(&args("mae.safetensors", &["--norm-pix-loss", "true", "--decoder-heads", "4"]));
    fails(
        &args("mae.safetensors", &["--norm-pix-loss", "true", "--mean", "0.5"]),
        1,
        &["--mean", "3 channels"],
    );
}

#[test]
fn mistakes_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    train(folder, &[]);
    image_folder(folder);
    fs::write(folder.join("text.png"), "no image").unwrap();
    fs::write(folder.join("half.safetensors"), &fs::read(folder.join(MODEL)).unwrap()[..5000])
        .unwrap();
    fs::create_dir(folder.join("empty")).unwrap();
    for (args, code, parts) in [
        (&["run"][..], 2, &["<IMAGE>"][..]),
        (&["run", "images"], 2, &["--out"]),
        (&["run", "images", "--out", "a.jpg"], 2, &["a.jpg", ".png"]),
        (&["run", "images", "--out", "a.png", "--mask-ratio", "1"], 2, &["--mask-ratio 1"]),
        (&["run", "images", "--out", "a.png", "--mask-unit", "0"], 2, &["--mask-unit 0"]),
        (&["run", "images", "--out", "a.png", "--mask-strategy", "blok"], 2, &["blok", "block"]),
        (&["run", "images", "--out", "a.png", "--device", "gpu"], 2, &["gpu", "cuda"]),
        (&["run", "images", "--out", "none/a.png"], 1, &["none/a.png", "no such folder"]),
        (&["none", "images", "--out", "a.png"], 1, &["none"]),
        (&["half.safetensors", "images", "--out", "a.png"], 1, &["half.safetensors", "truncated"]),
        (&["run", "images", "--out", "a.png", "--mask-unit", "4"], 1, &["unit"]),
        (
            &["run", "images", "--out", "a.png", "--mask-strategy", "grid", "--mask-ratio", "0.5"],
            1,
            &["error: mask ratio 0.5 is no regular grid"],
        ),
        (&["run", "images", "--out", "a.png", "--image-size", "30"], 1, &["30"]),
        (
            &["run/encoder.safetensors", "images", "--out", "a.png"],
            1,
            &["encoder alone", "decoder"],
        ),
        (&["run", "absent.jpg", "--out", "a.png"], 1, &["absent.jpg"]),
        (&["run", "empty", "--out", "a.png"], 1, &["empty", ".jpg"]),
        (&["run", "text.png", "--out", "a.png"], 1, &["text.png"]),
    ] {
        let output = reconstruct(folder, args);
        fails(&output, code, parts);
        assert!(!stdout(&output).contains("images\n") && !folder.join("a.png").exists());
    }
}

/// Metadata that contradicts the tensors is found before anything is made of its numbers.
#[test]
fn metadata_that_lies_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    train(folder, &[]);
    let bytes = fs::read(folder.join(MODEL)).unwrap();
    let image = photographs()[0].display().to_string();
    for (from, to, part) in [
        (r#"\"depth\":6"#, r#"\"depth\":7"#, "blocks.6.norm2.weight"),
        (r#"\"patch_size\":8"#, r#"\"patch_size\":4"#, "patch_embed.proj.weight"),
        (r#"\"dim\":64"#, r#"\"dim\":99"#, "decoder_embed.weight"),
    ] {
        let place = bytes.windows(from.len()).position(|window| window == from.as_bytes());
        let place = place.unwrap_or_else(|| panic!("{from} is in the header"));
        let mut lie = bytes.clone();
        lie[place..place + to.len()].copy_from_slice(to.as_bytes());
        fs::write(folder.join("lie.safetensors"), lie).unwrap();
        let output = reconstruct(folder, &["lie.safetensors", &image, "--out", "a.png"]);
        fails(&output, 1, &["lie.safetensors", part]);
    }
}
