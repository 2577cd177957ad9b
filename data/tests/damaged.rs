//! Files that are cut off, are no images, or claim what they do not hold: an error, never half a picture.

mod common;

use common::fixture_bytes;
use longmae_data::{DecodeOptions, Error, decode};

fn read(bytes: &[u8]) -> Result<longmae_data::Image, Error> {
    decode(bytes, &DecodeOptions::default())
}

#[test]
fn a_jpeg_cut_anywhere_is_an_error() {
    for name in [
        "420.jpg",
        "progressive.jpg",
        "restart.jpg",
        "grey.jpg",
        "cmyk.jpg",
        "exif6.jpg",
        "photo.jpg",
    ] {
        let bytes = fixture_bytes(name);
        for len in 4..bytes.len() {
            let error = read(&bytes[..len]).expect_err(name);
            assert!(matches!(error, Error::Truncated { .. }), "{name} cut to {len}: {error}");
        }
    }
}

/// A file of another format may be cut within what follows the pixels; then they must be right.
#[test]
fn other_files_cut_anywhere_are_an_error_or_whole() {
    let names = [
        "rgb.png",
        "rgba16.png",
        "palette4.png",
        "exif6.png",
        "lossless.webp",
        "lossy.webp",
        "alpha.webp",
        "rgb.tif",
        "p.tif",
        "tiff_lzw.tif",
        "tiff_adobe_deflate.tif",
        "packbits.tif",
        "jpeg.tif",
        "planar.tif",
        "group4.tif",
    ];
    for name in names {
        let bytes = fixture_bytes(name);
        let whole = read(&bytes).unwrap();
        let mut refused = 0;
        for len in 0..bytes.len() {
            match read(&bytes[..len]) {
                Ok(image) => {
                    assert_eq!(image.pixels, whole.pixels, "{name} cut to {len} of {}", bytes.len())
                }
                Err(_) => refused += 1,
            }
        }
        assert!(refused > bytes.len() / 3, "{name}: {refused} of {}", bytes.len());
    }
}

/// Bits that flip may go unnoticed where a format has no checksum; nothing may panic.
#[test]
fn damaged_bytes_never_panic() {
    for name in [
        "420.jpg",
        "progressive.jpg",
        "ycck.jpg",
        "rgb.png",
        "lossy.webp",
        "p.tif",
        "planar.tif",
        "bands5_planar.tif",
    ] {
        let bytes = fixture_bytes(name);
        for at in 0..bytes.len().min(1500) {
            for value in [0x00, 0xFF, bytes[at] ^ 0x10] {
                let mut damaged = bytes.clone();
                damaged[at] = value;
                let options = DecodeOptions { max_pixels: 1 << 20, ..Default::default() };
                let _ = decode(&damaged, &options);
            }
        }
    }
}

#[test]
fn what_is_no_image_says_what_it_is() {
    let message = |bytes: &[u8]| read(bytes).unwrap_err().to_string();
    assert!(message(b"").contains("empty"), "{}", message(b""));
    assert!(
        message(b"Hello, I am a text.").contains("\"Hello, I am "),
        "{}",
        message(b"Hello, I am a text.")
    );
    assert!(message(b"GIF89a\x01\x00\x01\x00").contains("Gif"), "{}", message(b"GIF89a"));
    assert!(read(&[0xFF, 0xD8, 0xFF]).is_err());
}

#[test]
fn huge_claims_are_refused_before_anything_is_allocated() {
    let mut png = fixture_bytes("rgb.png");
    png[16..24].copy_from_slice(&[0, 0, 0xFF, 0xFF, 0, 0, 0xFF, 0xFF]);
    // The header's checksum, so that the size is believed.
    let crc = crc32(&png[12..29]);
    png[29..33].copy_from_slice(&crc.to_be_bytes());
    assert!(matches!(read(&png), Err(Error::TooLarge { width: 65535, height: 65535, .. })));

    let mut jpeg = fixture_bytes("420.jpg");
    let frame = jpeg.windows(2).position(|w| w == [0xFF, 0xC0]).unwrap();
    jpeg[frame + 5..frame + 9].copy_from_slice(&[0xFF; 4]);
    assert!(matches!(read(&jpeg), Err(Error::TooLarge { width: 65535, height: 65535, .. })));

    let options = DecodeOptions { max_pixels: 100, ..Default::default() };
    for name in ["420.jpg", "rgb.png", "lossless.webp", "rgb.tif", "p.tif"] {
        let error = decode(&fixture_bytes(name), &options).unwrap_err();
        assert!(matches!(error, Error::TooLarge { limit: 100, .. }), "{name}: {error}");
    }
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| {
            if crc & 1 == 1 { crc >> 1 ^ 0xEDB8_8320 } else { crc >> 1 }
        })
    })
}
