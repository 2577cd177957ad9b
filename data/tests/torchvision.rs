//! Crops against torchvision's.

mod common;

use common::{bytes_of, distance, fixture_bytes, shared, u8s};
use longmae_data::rng::{Purpose, stream};
use longmae_data::transform::{CropBox, EvalCrop, HorizontalFlip, crop_resize};
use longmae_data::{DecodeOptions, Image, Size, decode};
use safetensors::SafeTensors;
use serde_json::Value;

fn boxed(case: &Value) -> CropBox {
    let side = |name: &str| case[name].as_u64().unwrap() as usize;
    CropBox { top: side("top"), left: side("left"), height: side("height"), width: side("width") }
}

fn train_crop(image: &Image, case: &Value, size: Size) -> Image {
    let mut crop = crop_resize(image, boxed(case), size).unwrap();
    let flip =
        HorizontalFlip::new(if case["flip"].as_bool().unwrap() { 1.0 } else { 0.0 }).unwrap();
    flip.apply(&mut crop, &mut stream(0, 0, 0, Purpose::Crop));
    crop
}

/// `[height, width, 3]` to `[3, height, width]`.
fn planar(image: &Image) -> Vec<u8> {
    (0..3).flat_map(|channel| u8s(image).iter().skip(channel).step_by(3).copied()).collect()
}

fn assert_close(name: &str, found: &[u8], expected: &[u8]) {
    let d = distance(found, expected);
    assert!(d.mean <= 1.0 && d.most <= 3, "{name}: {d:?}");
}

#[test]
fn crops_of_a_small_photograph_are_torchvisions() {
    let photo = decode(&fixture_bytes("photo.jpg"), &DecodeOptions::default()).unwrap();
    let file = fixture_bytes("crops.safetensors");
    let crops = SafeTensors::deserialize(&file).unwrap();
    let (_, header) = SafeTensors::read_metadata(&file).unwrap();
    let cases: Value = serde_json::from_str(&header.metadata().as_ref().unwrap()["cases"]).unwrap();
    for (i, case) in cases.as_array().unwrap().iter().enumerate() {
        let (shape, expected) = bytes_of(&crops, &format!("train.{i}"));
        let crop = train_crop(&photo, case, Size::new(shape[0], shape[1]).unwrap());
        assert_close(&format!("train crop {i}"), u8s(&crop), expected);
    }
    let sideways = rotated(&photo);
    for side in [32, 50] {
        for (name, image) in [("eval", &photo), ("eval_upright", &sideways)] {
            let name = format!("{name}.{side}");
            let crop = EvalCrop::default().apply(image, Size::square(side).unwrap()).unwrap();
            assert_close(&name, u8s(&crop), bytes_of(&crops, &name).1);
        }
    }
}

/// A quarter turn against the clock, as Pillow's `ROTATE_90`.
fn rotated(image: &Image) -> Image {
    let (height, width) = (image.width, image.height);
    let pixel = |row: usize, column: usize| {
        let start = (column * image.width + image.width - 1 - row) * 3;
        u8s(image)[start..start + 3].to_vec()
    };
    let pixels =
        (0..height).flat_map(|row| (0..width).flat_map(move |column| pixel(row, column))).collect();
    Image::new(width, height, 3, longmae_data::Pixels::U8(pixels)).unwrap()
}

#[test]
fn crops_of_imagenet_photographs_are_torchvisions() {
    let Some(shared) = shared() else { return };
    let cases = std::fs::read(shared.join("fixtures/transforms.json")).unwrap();
    let cases: Value = serde_json::from_slice(&cases).unwrap();
    let file = std::fs::read(shared.join("fixtures/transforms.safetensors")).unwrap();
    let crops = SafeTensors::deserialize(&file).unwrap();
    for (i, case) in cases.as_array().unwrap().iter().enumerate() {
        let path = shared.join("data/imagenet-sample/val").join(case["file"].as_str().unwrap());
        let image = decode(&std::fs::read(path).unwrap(), &DecodeOptions::default()).unwrap();
        let size = Size::square(224).unwrap();
        let train = planar(&train_crop(&image, case, size));
        assert_close(&format!("train crop {i}"), &train, bytes_of(&crops, &format!("{i}.train")).1);
        let eval = planar(&EvalCrop::default().apply(&image, size).unwrap());
        assert_close(&format!("eval crop {i}"), &eval, bytes_of(&crops, &format!("{i}.eval")).1);
    }
}
