//! COCO and datasets in its format.

mod common;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use common::{fixture, fixture_bytes, shared};
use longmae_data::rng::{Purpose, stream};
use longmae_data::{
    Coco, DecodeOptions, Error, Instances, OpenOptions, Segmentation, Source, Spec, Target,
};
use rand::Rng;
use serde_json::{Value, json};

/// Two images, three objects with all forms of outlines, and an image without objects.
fn small() -> Value {
    json!({
        "info": {"year": 2017},
        "images": [
            {"id": 7, "file_name": "b.png", "height": 4, "width": 5, "license": 1},
            {"id": 3, "file_name": "a.png", "height": 4, "width": 5},
            {"id": 9, "file_name": "missing.png", "height": 4, "width": 5},
        ],
        "annotations": [
            {"id": 1, "image_id": 3, "category_id": 20, "bbox": [1, 1, 2.5, 2], "area": 5, "iscrowd": 0,
             "segmentation": [[1.0, 1, 3, 1, 3, 3, 1, 3]]},
            {"id": 2, "image_id": 3, "category_id": 10, "bbox": [0, 0, 5, 4], "area": 6.5, "iscrowd": 1,
             "segmentation": {"size": [4, 5], "counts": [7, 6, 7]}},
            {"id": 5, "image_id": 7, "category_id": 20, "bbox": [0, 0, 1, 1],
             "segmentation": {"size": [4, 5], "counts": "767"}},
        ],
        "categories": [
            {"id": 20, "name": "cat", "supercategory": "animal"}, {"id": 10, "name": "dog"},
        ],
    })
}

fn write(root: &Path, split: &str, content: &str) {
    for name in ["a.png", "b.png"] {
        fs::create_dir_all(root.join(split)).unwrap();
        fs::copy(fixture("rgb.png"), root.join(split).join(name)).unwrap();
    }
    fs::create_dir_all(root.join("annotations")).unwrap();
    fs::write(root.join(format!("annotations/instances_{split}.json")), content).unwrap();
}

fn open(root: &Path, splits: Option<&str>) -> Result<Coco, Error> {
    Coco::open(root, splits, DecodeOptions::default())
}

/// What is said of the small dataset after a change.
fn message(change: impl FnOnce(&mut Value)) -> String {
    let dir = tempfile::tempdir().unwrap();
    let mut content = small();
    change(&mut content);
    write(dir.path(), "train2017", &content.to_string());
    let message = open(dir.path(), None).unwrap_err().to_string();
    assert!(message.contains("instances_train2017.json: "), "{message}");
    message
}

fn instances(target: Target) -> Instances {
    match target {
        Target::Instances(instances) => instances,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_small_dataset_is_read() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "train2017", &small().to_string());
    let coco = open(dir.path(), None).unwrap();
    assert_eq!(coco.classes(), ["dog", "cat"]);
    let ids: Vec<_> = (0..coco.len()).map(|i| coco.id(i)).collect();
    assert_eq!(ids, ["train2017/a.png", "train2017/b.png", "train2017/missing.png"]);

    let of_a = instances(coco.get(0).unwrap().target);
    assert_eq!((of_a.size.height, of_a.size.width), (4, 5));
    let [polygon, crowd] = &of_a.list[..] else { panic!("{of_a:?}") };
    assert_eq!((polygon.id, polygon.category, polygon.crowd), (1, 1, false));
    assert_eq!((polygon.bbox, polygon.area), ([1.0, 1.0, 2.5, 2.0], 5.0));
    assert_eq!(polygon.segmentation.as_ref().unwrap().to_mask(of_a.size).unwrap().area(), 4);
    assert_eq!((crowd.category, crowd.crowd), (0, true));
    let Some(Segmentation::Mask(mask)) = &crowd.segmentation else { panic!("{crowd:?}") };
    assert_eq!(mask.counts(), [7, 6, 7]);

    let of_b = instances(coco.target(1).unwrap());
    assert_eq!(of_b.list[0].area, 1.0, "the box's area where none is given");
    let Some(Segmentation::Mask(mask)) = &of_b.list[0].segmentation else { panic!("{of_b:?}") };
    assert_eq!(mask.counts(), [7, 6, 7]);

    assert!(instances(coco.target(2).unwrap()).list.is_empty());
    let missing = coco.get(2).unwrap_err().to_string();
    assert!(missing.contains("missing.png"), "{missing}");
    assert!(matches!(coco.get(3), Err(Error::NoSuchSample { index: 3, len: 3 })));
    assert!(matches!(coco.target(3), Err(Error::NoSuchSample { .. })));
}

#[test]
fn any_folder_and_file_can_be_opened() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "pictures", &small().to_string());
    let file = dir.path().join("annotations/instances_pictures.json");
    let coco =
        Coco::from_files(dir.path().join("pictures"), file, DecodeOptions::default()).unwrap();
    assert_eq!((coco.len(), coco.id(0)), (3, "a.png".to_owned()));
    assert!(coco.get(0).unwrap().image().is_ok());
}

#[test]
fn splits_are_joined_and_unlabelled_ones_have_no_target() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "train2017", &small().to_string());
    write(dir.path(), "unlabeled2017", "");
    fs::remove_file(dir.path().join("annotations/instances_unlabeled2017.json")).unwrap();
    let name = format!("coco:{}#train2017+unlabeled2017", dir.path().display());
    let spec: Spec = name.parse().unwrap();
    assert_eq!(spec.to_string(), name);
    let source = spec.open(&OpenOptions::default()).unwrap();
    assert_eq!((source.len(), source.id(3)), (5, "unlabeled2017/a.png".to_owned()));
    assert_eq!(source.target(3).unwrap(), Target::None);
    assert_eq!(source.classes(), ["dog", "cat"]);

    // A list of images says which of the folder's images there are.
    let list = json!({"images": [{"id": 1, "file_name": "b.png", "height": 4, "width": 5}]});
    let path = dir.path().join("annotations/image_info_unlabeled2017.json");
    fs::write(path, list.to_string()).unwrap();
    let source = spec.open(&OpenOptions::default()).unwrap();
    assert_eq!((source.len(), source.id(3)), (4, "unlabeled2017/b.png".to_owned()));
    assert_eq!(source.target(3).unwrap(), Target::None);
    assert_eq!(source.classes(), ["dog", "cat"]);
}

#[test]
fn a_split_that_is_not_there_is_told_with_those_that_are() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "val2017", &small().to_string());
    write(dir.path(), "test", &small().to_string());
    for split in [None, Some("val2017+train2017"), Some("../val2017"), Some("")] {
        let message = open(dir.path(), split).unwrap_err().to_string();
        assert!(message.contains("no folder of images"), "{message}");
        assert!(message.contains("there are test, val2017"), "{message}");
    }
    let twice = open(dir.path(), Some("test+test")).unwrap_err().to_string();
    assert!(twice.contains("the split test is named twice"), "{twice}");
    assert!(matches!(open(&dir.path().join("no"), None), Err(Error::NoSuchFolder(_))));
    assert!("coco:".parse::<Spec>().is_err() && "coco:a#".parse::<Spec>().is_err());

    let mut other = small();
    other["categories"][0]["name"] = json!("cow");
    write(dir.path(), "test", &other.to_string());
    let differ = open(dir.path(), Some("val2017+test")).unwrap_err().to_string();
    assert!(differ.contains("its 2 categories are not the 2 of the splits before"), "{differ}");
}

#[test]
fn files_that_contradict_themselves_are_told_by_id() {
    let annotation =
        |key: &'static str, value: Value| message(move |file| file["annotations"][1][key] = value);
    let image =
        |key: &'static str, value: Value| message(move |file| file["images"][1][key] = value);
    for (message, expected) in [
        (annotation("image_id", json!(4)), "annotation 2 is of image 4, which is not in the file"),
        (annotation("category_id", json!(1)), "annotation 2 of image 3: category 1 is not in the"),
        (annotation("id", json!(1)), "two annotations have the id 1"),
        (annotation("bbox", json!([0, 0, -1, 2])), "annotation 2 of image 3: its box is -1 wide"),
        (annotation("bbox", json!([0, 0, 1])), "not a file of COCO's format: invalid length 3"),
        (annotation("bbox", json!(null)), "not a file of COCO's format: "),
        (
            annotation("segmentation", json!({"size": [5, 4], "counts": [20]})),
            "annotation 2 of image 3: a mask that cannot be: its mask is 5 x 4 pixels, its image 4 x 5",
        ),
        (
            annotation("segmentation", json!({"size": [4, 5], "counts": [7, 14]})),
            "its runs have at least 21 pixels, the image of 4 x 5 has 20",
        ),
        (
            annotation("segmentation", json!({"size": [4, 5], "counts": "P"})),
            "ends within a number",
        ),
        (annotation("segmentation", json!({"size": [4, 5], "counts": 3})), "run lengths as a list"),
        (annotation("segmentation", json!([[1, 2, 3]])), "one of its polygons has 3 coordinates"),
        (annotation("segmentation", json!("767")), "a list of polygons, or a mask"),
        (image("id", json!(7)), "two images have the id 7: b.png and a.png"),
        (image("height", json!(0)), "image 3 (a.png) has 0 rows and 5 columns"),
        (image("width", json!(-1)), "not a file of COCO's format: invalid value"),
        (image("file_name", json!("../a.png")), "image 3 has the file name \"../a.png\""),
        (image("file_name", json!("/etc/passwd")), "which is no path below a folder"),
        (message(|file| file["categories"][1]["id"] = json!(20)), "two categories have the id 20"),
        (message(|file| file["annotations"] = json!(null)), "it has no list of annotations"),
        (message(|file| *file = json!([])), "not a file of COCO's format: "),
    ] {
        assert!(message.contains(expected), "{message} has no {expected}");
    }
}

/// Bytes changed, doubled, cut out: an error or a dataset, of which all can be asked.
#[test]
fn no_file_does_harm() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "train2017", "");
    let (original, mut read) = (small().to_string().into_bytes(), 0);
    for seed in 0..2500 {
        let mut rng = stream(seed, 0, 0, Purpose::Synthetic);
        let mut bytes = original.clone();
        for _ in 0..rng.random_range(1..4) {
            let at = rng.random_range(0..bytes.len());
            match rng.random_range(0..5) {
                0 => bytes[at] = rng.random(),
                1 => bytes[at] = b"0123456789-e.,[]{}\""[rng.random_range(0..19)],
                2 => bytes.insert(at, b"0123456789-e."[rng.random_range(0..13)]),
                3 => drop(bytes.drain(at..(at + rng.random_range(1..9)).min(bytes.len()))),
                _ => bytes.extend_from_within(at..),
            }
        }
        let file = dir.path().join("annotations/instances_train2017.json");
        fs::write(file, bytes).unwrap();
        let start = Instant::now();
        let Ok(coco) = open(dir.path(), None) else { continue };
        read += 1;
        for i in 0..coco.len() {
            let all = instances(coco.target(i).unwrap());
            for segmentation in all.list.iter().filter_map(|one| one.segmentation.as_ref()) {
                let huge = all.size.height.saturating_mul(all.size.width) > 1 << 20;
                assert!(
                    huge || segmentation.to_mask(all.size).is_ok_and(|m| m.size() == all.size) || {
                        matches!(segmentation, Segmentation::Polygons(_))
                    }
                );
            }
        }
        assert!(start.elapsed() < Duration::from_secs(5), "seed {seed}: {:?}", start.elapsed());
    }
    assert!((100..2400).contains(&read), "{read}");
}

fn fnv1a(text: &str) -> u64 {
    let step = |value: u32, byte: u8| (value ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    u64::from(text.bytes().fold(0x811c_9dc5, step))
}

/// Against `fixtures/make_coco.py`.
#[test]
fn a_part_of_coco_is_read_as_pycocotools_reads_it() {
    let Some(shared) = shared() else { return };
    let expected: Value = serde_json::from_slice(&fixture_bytes("coco.json")).unwrap();
    for split in ["train2017", "val2017"] {
        let expected = &expected["splits"][split];
        let coco = open(&shared.join("data/coco-tiny"), Some(split)).unwrap();
        assert_eq!(json!(coco.classes()), expected["classes"]);
        assert_eq!(json!(coco.len()), expected["images"]);
        let mut histogram = vec![0; coco.classes().len()];
        let (mut empty, mut crowds, mut masks) = (0, 0, serde_json::Map::new());
        for i in 0..coco.len() {
            let all = instances(coco.target(i).unwrap());
            empty += usize::from(all.list.is_empty());
            for one in all.list.iter() {
                histogram[one.category] += 1;
                crowds += usize::from(one.crowd);
                let mask = one.segmentation.as_ref().unwrap().to_mask(all.size).unwrap();
                let facts = json!([mask.area(), fnv1a(&mask.to_compressed())]);
                masks.insert(one.id.to_string(), facts);
            }
        }
        assert_eq!(json!(empty), expected["empty"]);
        assert_eq!(json!(crowds), expected["crowds"]);
        assert_eq!(json!(histogram), expected["histogram"]);
        assert_eq!(json!(masks.len()), expected["annotations"]);
        for (id, facts) in masks {
            assert_eq!(facts, expected["masks"][&id], "annotation {id} of {split}");
        }
        let sample = coco.get(0).unwrap();
        let size = sample.picture.size().unwrap();
        assert_eq!(size, instances(sample.target).size);
    }
}
