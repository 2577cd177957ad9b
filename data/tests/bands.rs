//! TIFF files of many bands and unusual numbers, and NumPy's arrays; `tests/fixtures/make_bands.py` of the repository
//! makes the files.

mod common;

use common::{fixture_bytes, u8s};
use longmae_data::{DecodeOptions, Error, Image, Pixels, decode};

fn read(name: &str, channels: usize) -> Result<Image, Error> {
    decode(&fixture_bytes(name), &DecodeOptions { channels, ..Default::default() })
}

fn floats(image: &Image) -> &[f32] {
    match &image.pixels {
        Pixels::F32(samples) => samples,
        Pixels::U8(_) => panic!("floats expected"),
    }
}

/// The fixtures' formula.
fn band(i: usize, bands: usize) -> usize {
    let (x, y) = (i / bands % 18, i / bands / 18);
    i % bands * 37 + x * 11 + y * 5 + x * y % 7
}

fn check_bands(name: &str, bands: usize, expected: impl Fn(f32) -> f32) {
    let image = read(name, bands).unwrap_or_else(|e| panic!("{name}: {e}"));
    assert_eq!((image.height, image.width, image.channels), (21, 18, bands), "{name}");
    for (i, &found) in floats(&image).iter().enumerate() {
        assert_eq!(found, expected(band(i, bands) as f32), "{name}, sample {i}");
    }
}

#[test]
fn thirteen_bands_in_tiles_and_planes() {
    for name in
        ["tiled_deflate", "tiled_lzw", "tiled_lzw_planar", "tiled_planar_big", "strips_planar_big"]
    {
        check_bands(&format!("bands13_{name}.tif"), 13, |v| v / 65535.0);
    }
    check_bands("bands3_grey_u16.tif", 3, |v| v / 65535.0);
    assert!(matches!(
        read("bands13_tiled_lzw.tif", 3),
        Err(Error::Channels { found: 13, expected: 3 })
    ));
}

#[test]
fn measurements_keep_their_values() {
    check_bands("bands13_i16.tif", 13, |v| v - 500.0);
    check_bands("bands13_i32.tif", 13, |v| v - 500.0);
    check_bands("bands13_u32.tif", 13, |v| v);
    check_bands("bands13_f16.tif", 13, |v| v);
}

#[test]
fn tiles_over_the_right_edge_are_read() {
    let image = read("grey_lzw_tiled.tif", 1).unwrap();
    assert!(u8s(&image).iter().enumerate().all(|(i, &v)| usize::from(v) == band(i, 1) % 256));
}

#[test]
fn planes_are_bounded_too() {
    let options = DecodeOptions { channels: 13, max_pixels: 21 * 18 / 2, ..Default::default() };
    let error = decode(&fixture_bytes("bands13_tiled_planar_big.tif"), &options).unwrap_err();
    assert!(matches!(error, Error::TooLarge { .. }), "{error}");
}

#[test]
fn arrays_of_every_type() {
    let check = |name: &str, expected: &dyn Fn(f32) -> f32| {
        let image = read(&format!("array_{name}.npy"), 3).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!((image.height, image.width, image.channels), (4, 5, 3), "{name}");
        for (i, &found) in floats(&image).iter().enumerate() {
            assert_eq!(found, expected(i as f32), "{name}, sample {i}");
        }
    };
    check("u2", &|i| i * 1000.0 / 65535.0);
    check("u2_big", &|i| i * 1000.0 / 65535.0);
    check("u4", &|i| i * 100_000.0);
    check("i1", &|i| i - 30.0);
    check("i2", &|i| i * 100.0 - 3000.0);
    check("i4_big", &|i| i * 1000.0 - 30_000.0);
    check("f2", &|i| i / 4.0 - 3.0);
    check("f4", &|i| i / 8.0 - 3.0);
    check("f4_big", &|i| i / 8.0 - 3.0);
    check("f8", &|i| i / 8.0 - 3.0);
    check("f4_fortran", &|i| i);
    check("f4_chw", &|i| i);
    check("f4_chw_fortran", &|i| i);
    // Grey is repeated, and keeps its bits.
    check("u2_grey", &|i| (i / 3.0).floor() * 3000.0 / 65535.0);
    check("u2_grey_fortran", &|i| (i / 3.0).floor() * 3000.0 / 65535.0);
    for name in ["array_u1.npy", "array_v2.npy", "array_v3.npy"] {
        let image = read(name, 3).unwrap();
        assert!(u8s(&image).iter().enumerate().all(|(i, &v)| usize::from(v) == i), "{name}");
    }
    let masks = read("array_b1.npy", 3).unwrap();
    assert!(u8s(&masks).chunks(3).all(|pixel| pixel == [255, 0, 0]));
}

/// An array of bytes with this header.
fn array(shape: &str, data: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}\n");
    let len = (header.len() as u16).to_le_bytes();
    [b"\x93NUMPY\x01\x00", &len[..], header.as_bytes(), data].concat()
}

#[test]
fn which_size_of_an_array_is_its_bands() {
    let size = |shape: &str, len: usize, channels| {
        let options = DecodeOptions { channels, ..Default::default() };
        decode(&array(shape, &vec![7; len]), &options).map(|image| (image.height, image.width))
    };
    assert_eq!(size("(3, 4, 3)", 36, 3).unwrap(), (3, 4), "the last, if both could be");
    assert_eq!(size("(3, 4, 2)", 24, 3).unwrap(), (4, 2));
    assert_eq!(size("(1, 4, 2)", 8, 3).unwrap(), (4, 2));
    assert_eq!(size("(4, 2, 1)", 8, 3).unwrap(), (4, 2));
    assert_eq!(size("(4, 2, 13)", 104, 13).unwrap(), (4, 2));
    for (shape, len) in
        [("(4, 2)", 8), ("(8,)", 8), ("()", 1), ("(1, 2, 2, 3)", 12), ("(4, 4, 2)", 32)]
    {
        let error = size(shape, len, 13).unwrap_err().to_string();
        assert!(error.contains("none of [height, width]"), "{error}");
    }
}

#[test]
fn arrays_that_claim_what_they_do_not_hold() {
    let error = |bytes: &[u8]| decode(bytes, &DecodeOptions::default()).unwrap_err();
    assert!(matches!(error(&array("(4, 4, 3)", &[0; 47])), Error::Truncated { .. }));
    assert!(error(&array("(4, 4, 3)", &[0; 49])).to_string().contains("49 bytes where"));
    assert!(matches!(error(&array("(13000, 13000, 3)", &[])), Error::Truncated { .. }));
    assert!(matches!(error(&array("(100000, 100000, 3)", &[])), Error::TooLarge { .. }));
    let huge = "(4294967296, 4294967296, 3)";
    assert!(matches!(error(&array(huge, &[])), Error::TooLarge { .. }));
    assert!(error(&array("(0, 4, 3)", &[])).to_string().contains("holds nothing"));
    let types = error(&fixture_bytes("array_i8.npy")).to_string();
    assert!(types.contains("\"<i8\" is not read"), "{types}");
    let archive = error(&fixture_bytes("array.npz")).to_string();
    assert!(archive.contains(".npz"), "{archive}");
}
