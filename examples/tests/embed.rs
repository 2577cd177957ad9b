//! The examples, run as a reader would.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use candle_core::{Device, IndexOp, Tensor, safetensors};
use longmae_data::rng::{Purpose, stream};
use longmae_data::{DecodeOptions, EvalTransform, Normalize, Picture, Size, Transform};
use longmae_report::{RgbImage, write_png};
use longmae_vit::{Params, PatchGrid, TowerConfig, Vit, VitConfig};

const SIDE: usize = 32;

/// Two heads, as timm has them at this width.
fn vit() -> (Vit, Params) {
    let params = Params::new(3, &Device::Cpu);
    let grid = PatchGrid::new((SIDE, SIDE), 8).unwrap();
    let config = VitConfig { grid, channels: 3, tower: TowerConfig::new(128, 2, 2) };
    (Vit::new(config, &params).unwrap(), params)
}

/// A picture of no particular kind, larger than the model's images.
fn picture(path: &Path, shade: u8) {
    let image = RgbImage::from_fn(50, 40, |x, y| [shade, (5 * x) as u8, (6 * y) as u8].into());
    write_png(path, &image).unwrap();
}

/// The class token of a picture, without the example.
fn expected(vit: &Vit, path: &Path) -> Vec<f32> {
    let transform = EvalTransform::new(Size::square(SIDE).unwrap(), Normalize::for_channels(3));
    let picture = Picture::encoded(fs::read(path).unwrap(), DecodeOptions::default());
    let image = transform.apply(&picture, &mut stream(0, 0, 0, Purpose::Crop)).unwrap();
    let image = Tensor::from_vec(image.data, (1, 3, SIDE, SIDE), &Device::Cpu).unwrap();
    vit.encode(&image, None, None).unwrap().i((0, 0)).unwrap().to_vec1().unwrap()
}

#[test]
fn embed_gives_the_encoders_class_tokens() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let (vit, params) = vit();
    // timm's names of an encoder are MAE's.
    let tensors: HashMap<String, Tensor> =
        params.all().into_iter().map(|p| (p.name, p.var.as_tensor().clone())).collect();
    safetensors::save(&tensors, at("timm.safetensors")).unwrap();
    fs::create_dir(at("images")).unwrap();
    picture(&at("images/a.png"), 20);
    picture(&at("images/b.png"), 200);

    let program = || Command::new(env!("CARGO_BIN_EXE_embed"));
    let (weights, images, out) = (at("timm.safetensors"), at("images"), at("features.safetensors"));
    let status = program().args([&weights, &images, &out]).status().unwrap();
    assert!(status.success());
    let features = safetensors::load(&out, &Device::Cpu).unwrap();
    assert_eq!(features.len(), 2);
    for name in ["a.png", "b.png"] {
        assert_eq!(features[name].dims(), [128]);
        let (found, expected) =
            (features[name].to_vec1::<f32>().unwrap(), expected(&vit, &images.join(name)));
        let far = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(far < 1e-5, "{name}: {far}");
    }
    let distance =
        (&features["a.png"] - &features["b.png"]).unwrap().abs().unwrap().max(0).unwrap();
    assert!(distance.to_scalar::<f32>().unwrap() > 1e-2, "two pictures, two features");

    let output = program().args([&images.join("a.png"), &images, &out]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && text.contains("a.png"), "{text}");
}

#[test]
fn the_example_is_short_and_stands_in_the_readme() {
    let read =
        |name: &str| fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap();
    let text = read("embed.rs");
    assert!(text.lines().count() < 40, "{} lines", text.lines().count());
    assert!(read("../vit/README.md").contains(&format!("```rust,ignore\n{text}```\n")));
}
