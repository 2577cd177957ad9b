//! ADE20K and label maps.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use common::{fixture, fixture_bytes, shared, u8s};
use longmae_data::{
    Ade20k, DecodeOptions, Error, MAX_PIXELS, OpenOptions, Source, Spec, Target, decode_labels,
};
use serde_json::{Value, json};

fn png(colour: png::ColorType, depth: png::BitDepth, row: &[u8], width: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, 2);
    encoder.set_color(colour);
    encoder.set_depth(depth);
    if colour == png::ColorType::Indexed {
        encoder.set_palette((0..48).map(|i| 255 - 5 * i).collect::<Vec<u8>>());
    }
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(&row.repeat(2)).unwrap();
    writer.finish().unwrap();
    bytes
}

fn labels(bytes: &[u8]) -> Result<Vec<u8>, Error> {
    decode_labels(bytes, MAX_PIXELS).map(|image| u8s(&image).to_vec())
}

#[test]
fn labels_are_the_numbers_of_the_file() {
    use png::BitDepth::{Eight, Four, One, Two};
    use png::ColorType::{Grayscale, Indexed};
    for colour in [Grayscale, Indexed] {
        for (depth, row, expected) in [
            (One, &[0b1010_0000][..], [1, 0, 1]),
            (Two, &[0b1101_1000], [3, 1, 2]),
            (Four, &[0x3c, 0x50], [3, 12, 5]),
            (Eight, &[9, 0, 15], [9, 0, 15]),
        ] {
            let found = labels(&png(colour, depth, row, 3)).unwrap();
            assert_eq!(found, expected.repeat(2), "{colour:?} {depth:?}");
        }
    }
    assert_eq!(labels(&png(Grayscale, Eight, &[255, 150], 2)).unwrap(), [255, 150, 255, 150]);
}

/// The palette's numbers, as `numpy.asarray(Image.open(f))` gives them: not colours, not grey.
#[test]
fn palettes_of_other_writers_are_not_looked_up() {
    for name in ["palette1.png", "palette2.png", "palette4.png"] {
        let most = match name {
            "palette1.png" => 1,
            "palette2.png" => 3,
            _ => 15,
        };
        let found = labels(&fixture_bytes(name)).unwrap();
        assert!(found.iter().all(|&v| v <= most), "{name}");
        assert_eq!(found.iter().max(), Some(&most), "{name}");
    }
}

#[test]
fn what_is_no_label_map_is_refused() {
    for (name, expected) in [
        ("rgb.png", "one channel of at most 8 bits, not Rgb of 8 bits"),
        ("grey16.png", "one channel of at most 8 bits, not Grayscale of 16 bits"),
        ("grey_alpha.png", "not GrayscaleAlpha"),
        ("rgb.jpg", "cannot decode the PNG file"),
    ] {
        let message = labels(&fixture_bytes(name)).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    }
    let whole = fixture_bytes("palette4.png");
    for length in 0..whole.len() {
        assert!(labels(&whole[..length]).is_err(), "{length} bytes");
    }
    assert!(matches!(decode_labels(&whole, 3), Err(Error::TooLarge { limit: 3, .. })));
}

fn put(root: &Path, names: &[&str]) {
    for name in names {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let from = if name.ends_with("jpg") { "rgb.jpg" } else { "palette4.png" };
        fs::copy(fixture(from), path).unwrap();
    }
}

fn open(root: &Path) -> Result<Ade20k, Error> {
    Ade20k::open(root, None, DecodeOptions::default())
}

#[test]
fn images_and_maps_are_paired_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = ("images/training/a.jpg", "images/training/b.jpg");
    put(dir.path(), &[a, b, "annotations/training/a.png"]);
    let missing = open(dir.path()).unwrap_err().to_string();
    assert!(missing.contains("no label map b.png for the image "), "{missing}");
    fs::remove_file(dir.path().join("annotations/training/a.png")).unwrap();
    let missing = open(dir.path()).unwrap_err().to_string();
    assert!(missing.contains("no label maps for 2 images; the first is a.png"), "{missing}");

    put(dir.path(), &["annotations/training/a.png", "annotations/training/b.png"]);
    let ade = open(dir.path()).unwrap();
    assert_eq!((ade.len(), ade.id(1)), (2, "training/b.jpg".to_owned()));
    assert!(ade.classes().is_empty());
    assert!(matches!(ade.get(0).unwrap().target, Target::LabelMap(map) if map.decode().is_ok()));
    assert!(matches!(ade.get(2), Err(Error::NoSuchSample { .. })));
    // The map is not read before it is decoded, so that who wants the image alone does not need it.
    fs::remove_file(dir.path().join("annotations/training/b.png")).unwrap();
    let sample = ade.get(1).unwrap();
    assert!(sample.image().is_ok());
    let Target::LabelMap(map) = sample.target else { panic!("a label map") };
    let message = map.decode().unwrap_err().to_string();
    assert!(message.contains("annotations/training/b.png"), "{message}");
    fs::remove_file(dir.path().join(a)).unwrap();
    assert!(ade.get(0).unwrap_err().to_string().contains("a.jpg") && ade.target(0).is_ok());
    let other = Ade20k::open(dir.path(), Some("testing"), DecodeOptions::default());
    let message = other.err().unwrap().to_string();
    assert!(message.contains("no split testing; there are"), "{message}");
}

#[test]
fn classes_have_the_names_of_the_table() {
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), &["images/training/a.jpg", "annotations/training/a.png"]);
    let table = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
    table(
        "objectInfo150.txt",
        "Idx\tRatio\tTrain\tVal\tName\n2\t0.1\t6\t1\tsky, blue\n1\t0.2\t9\t2\twall \n",
    );
    assert_eq!(open(dir.path()).unwrap().classes(), ["wall", "sky, blue"]);
    table("objectInfo150.csv", "Idx,Ratio,Train,Val,Stuff,Name\n1,0.1,9,2,1,\"a;b, c\"\n");
    assert_eq!(open(dir.path()).unwrap().classes(), ["a;b, c"]);
    for (text, expected) in [
        ("x\n1,2\n", "not a line of five or six columns: \"1,2\""),
        ("x\none,0.1,9,2,1,a\n", "\"one\" is not a class's number"),
        ("x\n1,0.1,9,2,1,a\n1,0.1,9,2,1,b\n", "two classes have the number 1"),
        ("x\n2,0.1,9,2,1,a\n", "the 1 classes are not numbered from 1 on"),
    ] {
        table("objectInfo150.csv", text);
        let message = open(dir.path()).unwrap_err().to_string();
        assert!(message.contains("objectInfo150.csv: ") && message.contains(expected), "{message}");
    }
}

/// Against `fixtures/make_coco.py`.
#[test]
fn a_sample_of_ade20k_is_read_as_numpy_reads_it() {
    let Some(shared) = shared() else { return };
    let expected: Value = serde_json::from_slice(&fixture_bytes("coco.json")).unwrap();
    let name = format!("ade20k:{}#validation", shared.join("data/ade20k-sample").display());
    let spec: Spec = name.parse().unwrap();
    assert_eq!(spec.to_string(), name);
    let source = spec.open(&OpenOptions::default()).unwrap();
    assert_eq!(source.len(), expected["ade20k"].as_object().unwrap().len());
    assert_eq!((source.classes().len(), &*source.classes()[1]), (150, "building;edifice"));
    for i in 0..source.len() {
        let id = source.id(i);
        let name = Path::new(&id).file_stem().unwrap().to_str().unwrap();
        let sample = source.get(i).unwrap();
        let Target::LabelMap(map) = &sample.target else { panic!("{:?}", sample.target) };
        let map = map.decode().unwrap();
        let image = sample.image().unwrap();
        assert_eq!((map.height, map.width, map.channels), (image.height, image.width, 1));
        let mut histogram = BTreeMap::new();
        u8s(&map).iter().for_each(|&label| *histogram.entry(label).or_insert(0) += 1);
        let found = json!({
            "size": [map.height, map.width],
            "histogram": histogram.into_iter().collect::<Vec<(u8, i32)>>(),
        });
        assert_eq!(found, expected["ade20k"][name], "{name}");
    }
}
