//! Damaged files of every kind: an error or a picture, no panic, in little time and memory.

mod common;
#[path = "common/mutations.rs"]
mod mutations;

use std::path::Path;

use common::fixture_bytes;
use longmae_data::{
    DecodeOptions, Error, Image, Packed, PackedKind, PackedPart, PathList, Source, Spec, decode,
};
use mutations::{damaged, peak_mib};

/// Damaged versions of each file: 2000, or what `LONGMAE_MUTATIONS` says.
fn count() -> usize {
    let more = std::env::var("LONGMAE_MUTATIONS").ok().and_then(|text| text.parse().ok());
    more.unwrap_or(2000)
}

/// Far above what files of a few kilobytes take, far below what they may claim.
const MOST_MIB: u64 = 1024;

fn memory_is_bounded() {
    assert!(peak_mib().is_none_or(|peak| peak < MOST_MIB), "{:?} MiB", peak_mib());
}

/// Every picture that comes out is whole.
fn check(result: Result<Image, Error>) {
    if let Ok(image) = result {
        let samples = image.width * image.height * image.channels;
        assert!(samples > 0 && image.pixels.len() == samples, "{image:?}");
    }
}

fn decode_damaged(name: &str, channels: usize) {
    let options = DecodeOptions { channels, max_pixels: 1 << 20, ..Default::default() };
    damaged(name, &fixture_bytes(name), count(), |bytes| check(decode(bytes, &options)));
    memory_is_bounded();
}

#[test]
fn jpeg() {
    for name in ["420.jpg", "progressive.jpg", "grey.jpg", "ycck.jpg"] {
        decode_damaged(name, 3);
    }
}

#[test]
fn png() {
    for name in ["rgb.png", "rgb16.png", "palette8.png", "grey16.png"] {
        decode_damaged(name, 3);
    }
}

#[test]
fn webp() {
    for name in ["lossy.webp", "lossless.webp", "alpha.webp"] {
        decode_damaged(name, 3);
    }
}

#[test]
fn tiff() {
    for name in ["rgb.tif", "p.tif", "tiff_lzw.tif", "jpeg.tif", "grey_lzw_tiled.tif"] {
        decode_damaged(name, 3);
    }
    for name in ["bands13_tiled_lzw_planar.tif", "bands13_tiled_planar_big.tif"] {
        decode_damaged(name, 13);
    }
}

/// This crate's own reader is not to panic at all, not even where that would be caught.
#[test]
fn npy() {
    let options = DecodeOptions { max_pixels: 1 << 20, ..Default::default() };
    for name in ["array_u1.npy", "array_f4_chw_fortran.npy", "array_u2_grey.npy", "array_v3.npy"] {
        damaged(name, &fixture_bytes(name), count(), |bytes| match decode(bytes, &options) {
            Err(e) => assert!(!e.to_string().contains("decoder failed"), "{e}"),
            image => check(image),
        });
    }
    memory_is_bounded();
}

#[test]
fn lists() {
    let text = b"# a list\na/1.jpg\t3\nb/2 x.png 4\r\n\n/c/3.tif\t+5\n";
    damaged("list", text, count(), |bytes| {
        if let Ok(list) =
            PathList::from_text(bytes, Path::new("a/list.txt"), DecodeOptions::default())
        {
            assert!(!list.is_empty() && (0..list.len()).all(|i| !list.id(i).is_empty()));
        }
    });
}

/// What a name is read as, it is written as.
#[test]
fn names_of_data() {
    let text = b"0.5*coco:/a#train+val;list:/b#c;2*wds:{0..9}.tar::x*y;mnist:/d#test; 1*3*demo";
    let mut read = 0;
    damaged("spec", text, count(), |bytes| {
        let text = String::from_utf8_lossy(bytes);
        if let Ok(spec) = text.parse::<Spec>() {
            let written = spec.to_string();
            assert_eq!(written.parse::<Spec>().ok(), Some(spec), "{text:?} became {written:?}");
            read += 1;
        }
    });
    assert!(read > 100, "{read}");
}

/// Damages one file among those of a data set.
fn open_damaged(kind: PackedKind, folder: &Path, file: &str) {
    let path = folder.join(file);
    let whole = std::fs::read(&path).unwrap();
    let open = || Packed::open(kind, folder, PackedPart::Train, DecodeOptions::default());
    assert!(open().is_ok());
    damaged(file, &whole, count(), |bytes| {
        std::fs::write(&path, bytes).unwrap();
        if let Ok(source) = open() {
            (0..source.len()).for_each(|i| check(source.get(i).unwrap().picture.into_image()));
        }
    });
    std::fs::write(&path, whole).unwrap();
    memory_is_bounded();
}

#[test]
fn idx() {
    let dir = tempfile::tempdir().unwrap();
    common::packed::put_idx(dir.path(), "train", 3, false);
    open_damaged(PackedKind::Mnist, dir.path(), "train-images-idx3-ubyte");
    open_damaged(PackedKind::Mnist, dir.path(), "train-labels-idx1-ubyte");
}

#[test]
fn packed_idx() {
    let dir = tempfile::tempdir().unwrap();
    common::packed::put_idx(dir.path(), "train", 3, true);
    open_damaged(PackedKind::FashionMnist, dir.path(), "train-images-idx3-ubyte.gz");
}

#[test]
fn cifar() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("data_batch_1.bin"), common::packed::cifar(2, 1)).unwrap();
    open_damaged(PackedKind::Cifar10, dir.path(), "data_batch_1.bin");
}
