//! Decoding only a part of a picture gives the pixels of the whole.
#![cfg(feature = "libjpeg-turbo")]

mod common;

use std::path::Path;

use common::{distance, u8s};
use longmae_data::rng::{Purpose, stream};
use longmae_data::transform::{CropBox, crop, crop_resize};
use longmae_data::{DecodeOptions, Picture, Size};
use rand::Rng;

fn demo(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("demo").join(name)).unwrap()
}

/// The photograph with an EXIF segment that notes an orientation.
fn turned(jpeg: &[u8], orientation: u8) -> Vec<u8> {
    let tiff = [
        b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0".as_slice(),
        &[orientation, 0, 0, 0, 0, 0, 0, 0],
    ]
    .concat();
    let len = (2 + 6 + tiff.len()) as u16;
    [&jpeg[..2], &[0xFF, 0xE1], &len.to_be_bytes(), b"Exif\0\0", &tiff, &jpeg[2..]].concat()
}

fn area(size: Size, rng: &mut impl Rng) -> CropBox {
    let (height, width) = (rng.random_range(1..=size.height), rng.random_range(1..=size.width));
    let top = rng.random_range(0..=size.height - height);
    CropBox { top, left: rng.random_range(0..=size.width - width), height, width }
}

#[test]
fn a_part_is_cut_from_the_whole_whichever_way_up() {
    let mut rng = stream(0, 0, 0, Purpose::Crop);
    for name in ["cat.jpg", "photographer.jpg", "boats.jpg"] {
        for orientation in 1..=8 {
            let file = turned(&demo(name), orientation);
            for channels in [1, 3] {
                let options = DecodeOptions { channels, ..DecodeOptions::default() };
                let whole = Picture::encoded(file.clone(), options).into_image().unwrap();
                for _ in 0..6 {
                    let picture = Picture::encoded(file.clone(), options);
                    let size = picture.size().unwrap();
                    assert_eq!((size.height, size.width), (whole.height, whole.width));
                    let area = area(size, &mut rng);
                    let region = picture.region(area, area_size(area)).unwrap();
                    let found = crop(&region.image, region.area).unwrap();
                    let expected = crop(&whole, area).unwrap();
                    assert!(found == expected, "{name}, orientation {orientation}, {area:?}");
                }
            }
        }
    }
}

fn area_size(area: CropBox) -> Size {
    Size { height: area.height, width: area.width }
}

/// Fewer pixels are decoded than the picture has, never fewer than wanted, and the result looks the same.
#[test]
fn scaled_decoding_keeps_the_size_wanted() {
    let options = DecodeOptions { scaled: true, ..DecodeOptions::default() };
    let wanted = Size::square(48).unwrap();
    for orientation in [1, 3, 6] {
        let file = turned(&demo("cat.jpg"), orientation);
        let whole = Picture::encoded(file.clone(), DecodeOptions::default()).into_image().unwrap();
        let area = CropBox { top: 16, left: 32, height: 192, width: 160 };
        let picture = Picture::encoded(file, options);
        let region = picture.region(area, wanted).unwrap();
        assert_eq!((region.area.height, region.area.width), (96, 80));
        let found = crop_resize(&region.image, region.area, wanted).unwrap();
        let expected = crop_resize(&whole, area, wanted).unwrap();
        let distance = distance(u8s(&found), u8s(&expected));
        assert!(distance.mean < 2.0, "{distance:?}");
        let close = picture.region(area, area_size(area)).unwrap();
        assert_eq!((close.area.height, close.area.width), (192, 160));
    }
}

#[test]
fn what_is_cut_off_or_outside_is_refused() {
    let whole = demo("cat.jpg");
    let area = CropBox { top: 0, left: 0, height: 8, width: 8 };
    let cut = Picture::encoded(whole[..whole.len() - 400].to_vec(), DecodeOptions::default());
    assert!(cut.region(area, area_size(area)).unwrap_err().to_string().contains("truncated"));
    let outside = CropBox { left: 100_000, ..area };
    let picture = Picture::encoded(whole, DecodeOptions::default());
    assert!(picture.region(outside, area_size(area)).is_err());
}
