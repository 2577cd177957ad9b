//! Decoding against Pillow, on every kind of file; `tests/fixtures/make_images.py` of the repository makes the files.

mod common;

use common::{bytes_of, distance, fixture_bytes, u8s};
use longmae_data::{DecodeOptions, Error, Pixels, decode};
use safetensors::SafeTensors;

fn with_channels(channels: usize) -> DecodeOptions {
    DecodeOptions { channels, ..Default::default() }
}

/// Lossless files are equal to the bit. Lossy ones differ by rounding: decoders may round the inverse transform and the
/// chroma's interpolation each in their way.
fn allowed(name: &str) -> (f64, u8) {
    match name {
        n if n.contains(".jpg") || n.contains("jpeg.tif") || n.contains("lossy") => (0.6, 4),
        _ => (0.0, 0),
    }
}

#[test]
fn every_kind_of_file_is_read_as_pillow_reads_it() {
    let file = fixture_bytes("expected.safetensors");
    let expected = SafeTensors::deserialize(&file).unwrap();
    let mut failures = Vec::new();
    for tensor in expected.names() {
        let (name, channels) = match tensor.strip_suffix(".grey") {
            Some(name) => (name, 1),
            None => (tensor, 3),
        };
        let image = match decode(&fixture_bytes(name), &with_channels(channels)) {
            Ok(image) => image,
            Err(e) => {
                failures.push(format!("{tensor}: {e}"));
                continue;
            }
        };
        let (shape, pixels) = bytes_of(&expected, tensor);
        assert_eq!(shape[..2], [image.height, image.width], "{tensor}");
        let Pixels::U8(found) = &image.pixels else {
            assert!(
                channels == 1 && (name.starts_with("grey") || name == "float.tif"),
                "{tensor} is kept as floats"
            );
            continue;
        };
        let d = distance(found, pixels);
        let (mean, max) = allowed(tensor);
        if d.mean > mean || d.max > max {
            failures.push(format!("{tensor}: {d:?}"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(expected.names().len() > 120);
}

#[test]
fn bands_are_kept_on_request() {
    let rgba = decode(&fixture_bytes("rgba.png"), &with_channels(4)).unwrap();
    let rgb = decode(&fixture_bytes("rgba.png"), &with_channels(3)).unwrap();
    assert_eq!(rgba.channels, 4);
    assert!(u8s(&rgba).chunks(4).zip(u8s(&rgb).chunks(3)).all(|(a, b)| a[..3] == *b));
    assert_eq!(decode(&fixture_bytes("grey_alpha.png"), &with_channels(2)).unwrap().channels, 2);
    assert_eq!(decode(&fixture_bytes("cmyk.jpg"), &with_channels(4)).unwrap().channels, 4);

    for name in ["rgb.png", "grey.jpg", "cmyk.tif"] {
        let error = decode(&fixture_bytes(name), &with_channels(7)).unwrap_err();
        assert!(matches!(error, Error::Channels { expected: 7, .. }), "{name}: {error}");
    }
}

#[test]
fn more_than_eight_bits_are_kept_on_request() {
    for name in ["grey16.png", "grey16.tif", "grey16_big_endian.tif"] {
        let image = decode(&fixture_bytes(name), &with_channels(1)).unwrap();
        let Pixels::F32(samples) = &image.pixels else { panic!("{name}") };
        for (i, &sample) in samples.iter().enumerate() {
            let (x, y) = (i % image.width, i / image.width);
            assert_eq!(sample, (x * 3000 + y * 300) as f32 / 65535.0, "{name} at {x}, {y}");
        }
    }
    let image = decode(&fixture_bytes("rgba16.png"), &with_channels(4)).unwrap();
    assert!(matches!(&image.pixels, Pixels::F32(v) if v.iter().all(|v| (0.0..=1.0).contains(v))));
}

#[test]
fn a_tiff_of_many_bands_of_floats_is_kept_chunky_or_planar() {
    for name in ["bands5_float.tif", "bands5_planar.tif"] {
        let image = decode(&fixture_bytes(name), &with_channels(5)).unwrap();
        let Pixels::F32(samples) = &image.pixels else { panic!("{name}") };
        assert!(samples.iter().enumerate().all(|(i, &v)| v == i as f32 / 1000.0), "{name}");
        assert!(matches!(
            decode(&fixture_bytes(name), &with_channels(3)),
            Err(Error::Channels { found: 5, expected: 3 })
        ));
    }
}

#[test]
fn orientation_can_be_left_alone() {
    let options = DecodeOptions { apply_exif: false, ..Default::default() };
    let stored = decode(&fixture_bytes("exif6.jpg"), &options).unwrap();
    let upright = decode(&fixture_bytes("exif6.jpg"), &DecodeOptions::default()).unwrap();
    assert_eq!((stored.height, stored.width), (upright.width, upright.height));
    assert_eq!(stored, decode(&fixture_bytes("420.jpg"), &options).unwrap());
}
