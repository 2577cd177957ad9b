//! COCO's figures against pycocotools' (`fixtures/make_coco_eval.py`).

mod common;

use std::fs;
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;

use common::coco::{TOLERANCE, assert_all_equal, iou_types};
use longmae_data::rle::Rle;
use longmae_data::{CocoAnnotations, Size};
use longmae_finetune::detect::coco_eval::{
    Area, Detection, Detections, Evaluation, GroundTruth, IouType, STATS, write_results,
};
use serde_json::{Value, json};
use tempfile::TempDir;

#[test]
fn random_cases_are_as_in_pycocotools() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/coco_eval.json.gz");
    let mut text = String::new();
    flate2::read::GzDecoder::new(fs::File::open(path).unwrap()).read_to_string(&mut text).unwrap();
    assert_eq!(assert_all_equal(&text), 100);
}

/// The annotations and results that come with pycocotools, and the figures that it gives for them.
#[test]
#[allow(clippy::print_stderr, reason = "a skipped test says so")]
fn pycocotools_own_example_has_its_figures() {
    let Some(shared) = std::env::var_os("LONGMAE_SHARED").filter(|path| !path.is_empty()) else {
        eprintln!("skipped: set LONGMAE_SHARED to the folder of the larger fixtures");
        return;
    };
    let folder = PathBuf::from(shared).join("data/cocoeval");
    let expected: Value =
        serde_json::from_slice(&fs::read(folder.join("expected.json")).unwrap()).unwrap();
    for (iou_type, name) in iou_types() {
        let truth = GroundTruth::read(folder.join("instances_val2014_100.json"), iou_type).unwrap();
        let file = folder.join(format!("instances_val2014_fake{name}100_results.json"));
        let stats = truth.evaluate(&Detections::read(&truth, file).unwrap()).stats();
        for ((found, expected), stat) in
            stats.iter().zip(expected["stats"][name].as_array().unwrap()).zip(STATS)
        {
            let expected = expected.as_f64().unwrap();
            assert!(
                (found - expected).abs() < TOLERANCE,
                "{name} {}: {found} {expected}",
                stat.name
            );
        }
    }
}

/// Two images of 40 x 50 with a cat each, the second one a crowd; a category without objects.
fn small() -> Value {
    json!({
        "images": [{"id": 9, "height": 40, "width": 50}, {"id": 2, "height": 40, "width": 50}],
        "categories": [{"id": 5, "name": "dog"}, {"id": 3, "name": "cat"}],
        "annotations": [
            {"id": 1, "image_id": 2, "category_id": 3, "bbox": [10, 10, 20, 20], "area": 400, "iscrowd": 0,
             "segmentation": [[10, 10, 10, 30, 30, 30, 30, 10]]},
            {"id": 2, "image_id": 9, "category_id": 3, "bbox": [0, 0, 50, 20], "area": 1000, "iscrowd": 1,
             "segmentation": {"size": [40, 50], "counts": [0, 1000, 1000]}},
        ],
    })
}

fn mask() -> Arc<Rle> {
    Arc::new(Rle::from_box([10.0, 10.0, 20.0, 20.0], Size::new(40, 50).unwrap()).unwrap())
}

fn cat(image_id: i64, score: f64) -> Detection {
    let (bbox, mask) = ([10.0, 10.0, 20.0, 20.0], Some(mask()));
    Detection { image_id, category_id: 3, score, bbox, mask }
}

fn written(folder: &TempDir, name: &str, value: &Value) -> PathBuf {
    let path = folder.path().join(name);
    fs::write(&path, value.to_string()).unwrap();
    path
}

fn truth(folder: &TempDir, iou_type: IouType) -> GroundTruth {
    GroundTruth::read(written(folder, "truth.json", &small()), iou_type).unwrap()
}

fn evaluate(truth: &GroundTruth, found: Vec<Detection>) -> Evaluation {
    truth.evaluate(&Detections::new(truth, found).unwrap())
}

#[test]
fn categories_sizes_and_precision_can_be_asked_for() {
    let folder = TempDir::new().unwrap();
    for (iou_type, _) in iou_types() {
        let truth = truth(&folder, iou_type);
        assert_eq!((truth.images(), truth.objects(), truth.has_zero_id()), (2, 2, false));
        // A wrong one goes first, then the right one; what lies in the crowd does not count.
        let dog = Detection { category_id: 5, ..cat(2, 0.7) };
        let wrong = Detection { bbox: [40.0, 0.0, 10.0, 10.0], ..cat(2, 0.95) };
        let wrong = match iou_type {
            IouType::Bbox => wrong,
            IouType::Segm => {
                let size = Size::new(40, 50).unwrap();
                Detection {
                    mask: Some(Arc::new(Rle::from_box(wrong.bbox, size).unwrap())),
                    ..wrong
                }
            }
        };
        let inside = Detection { bbox: [0.0, 0.0, 9.0, 9.0], ..cat(9, 0.99) };
        let inside = Detection {
            mask: Some(Arc::new(Rle::from_box(inside.bbox, Size::new(40, 50).unwrap()).unwrap())),
            ..inside
        };
        let evaluation = evaluate(&truth, vec![dog, cat(2, 0.9), wrong, inside]);
        let stats = evaluation.stats();
        assert_eq!(stats[..6], [0.5, 0.5, 0.5, 0.5, -1.0, -1.0]);
        assert_eq!(stats[6..], [0.0, 1.0, 1.0, 1.0, -1.0, -1.0]);
        let per_category: Vec<_> =
            evaluation.per_category().map(|(category, ap)| (category.name.as_str(), ap)).collect();
        assert_eq!(per_category, [("cat", 0.5), ("dog", -1.0)]);
        assert!(
            evaluation.precision(0, Area::All).unwrap().as_flattened().iter().all(|&p| p == 0.5)
        );
        assert!(evaluation.precision(0, Area::Large).is_none());
        assert!(evaluation.precision(1, Area::All).is_none());
        assert!(evaluation.precision(2, Area::All).is_none());
    }
}

#[test]
fn nothing_found_is_zero_and_not_an_error() {
    let folder = TempDir::new().unwrap();
    let truth = truth(&folder, IouType::Bbox);
    let none = Detections::read(&truth, written(&folder, "none.json", &json!([]))).unwrap();
    assert!(none.is_empty());
    assert_eq!(truth.evaluate(&none).stats()[..5], [0.0, 0.0, 0.0, 0.0, -1.0]);
}

#[test]
fn results_are_written_and_read_back() {
    let folder = TempDir::new().unwrap();
    let found = vec![cat(2, 0.1 + 0.2), Detection { bbox: [1.5, 0.1, 7.3, 9.0], ..cat(9, 1e-9) }];
    for (iou_type, name) in iou_types() {
        let truth = truth(&folder, iou_type);
        let mut bytes = Vec::new();
        write_results(&mut bytes, &found, iou_type).unwrap();
        let list: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(list[0]["score"], json!(0.1 + 0.2));
        assert_eq!(list[1].get("bbox").is_some(), name == "bbox");
        assert_eq!(list[1].get("segmentation").is_some(), name == "segm");
        let path = folder.path().join("results.json");
        fs::write(&path, bytes).unwrap();
        let read = Detections::read(&truth, path).unwrap();
        assert!(read.len() == 2 && !read.box_areas());
        let again = truth.evaluate(&read).stats();
        assert_eq!(again, evaluate(&truth, found.clone()).stats());
    }
    let mut empty = Vec::new();
    write_results(&mut empty, &[], IouType::Segm).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&empty).unwrap(), json!([]));
    let without = Detection { mask: None, ..cat(2, 0.5) };
    let message = write_results(&mut empty, &[without], IouType::Segm).unwrap_err().to_string();
    assert_eq!(message, "result 1: it has no mask");
}

#[test]
fn detections_that_cannot_be_are_refused() {
    let folder = TempDir::new().unwrap();
    let other = Arc::new(Rle::empty(Size::new(50, 40).unwrap()).unwrap());
    let nan = [f64::NAN, 0.0, 1.0, 1.0];
    for (iou_type, detection, expected) in [
        (IouType::Bbox, Detection { image_id: 3, ..cat(2, 0.5) }, "image 3 is not in"),
        (IouType::Bbox, Detection { category_id: 4, ..cat(2, 0.5) }, "category 4 is not in"),
        (IouType::Bbox, cat(2, f64::NAN), "its score is NaN"),
        (IouType::Bbox, Detection { bbox: nan, ..cat(2, 0.5) }, "its box is [NaN, 0.0, 1.0, 1.0]"),
        (IouType::Segm, Detection { mask: None, ..cat(2, 0.5) }, "it has no mask"),
        (
            IouType::Segm,
            Detection { mask: Some(other), ..cat(2, 0.5) },
            "its mask is 50 x 40 pixels, its image 40 x 50",
        ),
    ] {
        let truth = truth(&folder, iou_type);
        let message =
            Detections::new(&truth, vec![cat(2, 0.9), detection]).unwrap_err().to_string();
        assert!(message.starts_with("result 2: ") && message.contains(expected), "{message}");
    }
}

/// What is said of a file of results with this text.
fn refused(folder: &TempDir, iou_type: IouType, text: &str) -> String {
    let path = folder.path().join("bad.json");
    fs::write(&path, text).unwrap();
    let message = Detections::read(&truth(folder, iou_type), path).unwrap_err().to_string();
    assert!(message.contains("bad.json: "), "{message}");
    message
}

#[test]
fn results_that_cannot_be_are_refused() {
    let folder = TempDir::new().unwrap();
    let result =
        |rest: &str| format!(r#"[{{"image_id": 2, "category_id": 3, "score": 0.5{rest}}}]"#);
    let boxed = r#", "bbox": [1, 2, 3, 4]"#;
    let with_boxes = |rest: &str| {
        let first = result(boxed);
        format!("{},\n{}", first.trim_end_matches(']'), &result(rest)[1..])
    };
    for (text, expected) in [
        ("".to_owned(), "not a list of results: EOF while parsing"),
        ("{}".to_owned(), "not a list of results: invalid type: map, expected a sequence"),
        ("[3]".to_owned(), "not a list of results: invalid type: integer `3`"),
        (r#"[{"image_id": 2, "category_id": 3}]"#.to_owned(), "missing field `score`"),
        (result(r#", "bbox": [1, 2, NaN, 4]"#), "at `NaN, 4]"),
        (result(r#", "bbox": [1, 2, 1e999, 4]"#), "number out of range at line 1 column"),
        (result(r#", "bbox": [1, 2, 3]"#), "result 1: its bbox has 3 numbers instead of 4"),
        (result(""), "result 1: it has neither a bbox nor a segmentation"),
        (result(r#", "bbox": []"#), "result 1: it has neither a bbox nor a segmentation"),
        (with_boxes(""), "result 2: it has no bbox, but the first result has one"),
        (result(boxed).replace(": 2,", ": 7,"), "result 1: image 7 is not in the annotations"),
        (result(boxed).replace(": 3,", ": 7,"), "result 1: category 7 is not in the annotations"),
    ] {
        for (iou_type, _) in iou_types() {
            let message = refused(&folder, iou_type, &text);
            assert!(message.contains(expected), "{message} has no {expected}");
        }
    }
    for (segmentation, expected) in [
        (r#"{"size": [50, 40], "counts": [2000]}"#, "its mask is 50 x 40 pixels, its image 40 x"),
        (r#"{"size": [40, 50], "counts": [1999]}"#, "its runs have 1999 pixels"),
        (r#"{"size": [40, 50], "counts": "P"}"#, "its string ends within a number"),
        (r#"{"size": [40, 50]}"#, "missing field `counts`"),
        ("[]", "its segmentation is empty"),
        ("[[1, 2, 3]]", "one of its polygons has 3 coordinates"),
        ("7", "expected a list of polygons, or a mask of runs"),
    ] {
        let text = result(&format!(r#", "segmentation": {segmentation}"#));
        let message = refused(&folder, IouType::Segm, &text);
        assert!(message.contains(expected), "{message} has no {expected}");
    }
    let truth = truth(&folder, IouType::Bbox);
    let message = Detections::read(&truth, folder.path().join("no")).unwrap_err().to_string();
    assert!(message.contains("no: No such file"), "{message}");
}

#[test]
fn annotations_that_cannot_be_compared_with_are_refused() {
    let folder = TempDir::new().unwrap();
    let message = |change: fn(&mut Value)| {
        let mut file = small();
        change(&mut file);
        let path = written(&folder, "truth.json", &file);
        let message = GroundTruth::read(path, IouType::Segm).unwrap_err().to_string();
        assert!(message.contains("truth.json: "), "{message}");
        message
    };
    for (message, expected) in [
        (
            message(|file| file["annotations"][0]["segmentation"] = json!(null)),
            "annotation 1 of image 2: it has no segmentation",
        ),
        (
            message(|file| file["images"][1]["height"] = json!(null)),
            "annotation 1 of image 2: its image has no height and width",
        ),
        (
            message(|file| file["annotations"][0]["segmentation"] = json!([[1e9, 2, 3, 4]])),
            "a coordinate of its polygon is 1000000000",
        ),
        (message(|file| file["annotations"] = json!(null)), "there is no list of annotations"),
    ] {
        assert!(message.contains(expected), "{message} has no {expected}");
    }
    let mut annotations = CocoAnnotations::read(&folder.path().join("truth.json")).unwrap();
    annotations.annotated = true;
    annotations.images.reverse();
    let message = GroundTruth::new(&annotations, IouType::Bbox).unwrap_err().to_string();
    assert!(message.contains("not in the order of their ids"), "{message}");
}

/// Sizes are not needed to compare boxes, nor are names.
#[test]
fn a_file_may_say_no_more_than_is_needed() {
    let folder = TempDir::new().unwrap();
    let file = json!({
        "images": [{"id": 1}], "categories": [{"id": 4}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 4, "bbox": [0, 0, 9, 9], "area": 81}],
    });
    let path = written(&folder, "truth.json", &file);
    let truth = GroundTruth::read(path, IouType::Bbox).unwrap();
    let list = json!([{"image_id": 1, "category_id": 4, "score": 1, "bbox": [0, 0, 9, 9]}]);
    let found = Detections::read(&truth, written(&folder, "found.json", &list)).unwrap();
    let evaluation = truth.evaluate(&found);
    // As in pycocotools not quite 1: a little is added to what is divided by.
    assert!((evaluation.stats()[0] - 1.0).abs() < TOLERANCE);
    assert_eq!(evaluation.per_category().next().unwrap().0.name, "4");
}
