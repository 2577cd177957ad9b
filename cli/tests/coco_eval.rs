//! `longmae coco-eval`.

mod common;

use std::fs;
use std::path::Path;

use common::{fails, longmae, stderr, succeeds};
use serde_json::{Value, json};
use tempfile::TempDir;

/// An image with two cats, and a dog that is not there.
fn files(folder: &Path, first_id: u64) -> [String; 2] {
    let truth = json!({
        "images": [{"id": 1, "height": 50, "width": 60}],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
        "annotations": [
            {"id": first_id, "image_id": 1, "category_id": 1, "bbox": [0, 0, 20, 20], "area": 400, "iscrowd": 0,
             "segmentation": [[0, 0, 0, 20, 20, 20, 20, 0]]},
            {"id": 2, "image_id": 1, "category_id": 1, "bbox": [30, 0, 20, 20], "area": 400, "iscrowd": 0,
             "segmentation": [[30, 0, 30, 20, 50, 20, 50, 0]]},
        ],
    });
    // The second is found by three fifths.
    let results = json!([
        {"image_id": 1, "category_id": 1, "score": 0.9, "bbox": [0, 0, 20, 20]},
        {"image_id": 1, "category_id": 1, "score": 0.8, "bbox": [30, 0, 20, 12]},
    ]);
    [("truth.json", truth), ("results.json", results)].map(|(name, value)| {
        let path = folder.join(name);
        fs::write(&path, value.to_string()).unwrap();
        path.display().to_string()
    })
}

fn arguments<'a>(truth: &'a str, results: &'a str, iou_type: &'a str) -> Vec<&'a str> {
    vec!["coco-eval", "--annotations", truth, "--results", results, "--iou-type", iou_type]
}

#[test]
fn figures_are_printed_and_written() {
    let folder = TempDir::new().unwrap();
    let [truth, results] = files(folder.path(), 1);
    let json = folder.path().join("figures.json").display().to_string();
    for iou_type in ["bbox", "segm"] {
        let mut args = arguments(&truth, &results, iou_type);
        args.extend(["--json", &json]);
        let output = longmae(&args);
        let text = succeeds(&output);
        let figures: Value = serde_json::from_slice(&fs::read(&json).unwrap()).unwrap();
        // Both are found at three thresholds of ten; at the others one of two is, at a recall of up to one half.
        let (three, seven) = (1.0, 51.0 / 101.0);
        let ap = (3.0 * three + 7.0 * seven) / 10.0;
        let expected = [ap, 1.0, seven, ap, -1.0, -1.0, 0.5, 0.65, 0.65, 0.65, -1.0, -1.0];
        assert_eq!(
            (figures.as_object().unwrap().len(), &figures["iou_type"]),
            (2, &json!(iou_type))
        );
        for (found, expected) in figures["stats"].as_array().unwrap().iter().zip(expected) {
            assert!((found.as_f64().unwrap() - expected).abs() < 1e-12, "{figures}");
        }
        for part in [
            "1 image, 2 objects, 2 results that count",
            " Average Precision  (AP) @[ IoU=0.50:0.95 | area=   all | maxDets=100 ] = 0.653\n",
            " Average Recall     (AR) @[ IoU=0.50:0.95 | area=   all | maxDets=  1 ] = 0.500\n",
            " Average Recall     (AR) @[ IoU=0.50:0.95 | area= large | maxDets=100 ] = -1.000\n",
            "  0.653 cat\n -1.000 dog\n",
        ] {
            assert!(text.contains(part), "{text}");
        }
        // Masks that are small or large by their boxes are told of.
        assert_eq!(stderr(&output).contains("the results have boxes"), iou_type == "segm");
    }
}

#[test]
fn an_annotation_with_the_id_0_is_told_of() {
    let folder = TempDir::new().unwrap();
    let [truth, results] = files(folder.path(), 0);
    let output = longmae(&arguments(&truth, &results, "bbox"));
    assert!(succeeds(&output).contains("  0.076 cat"), "one of two, after a wrong one, at 3 of 10");
    assert!(stderr(&output).contains("an annotation has the id 0"), "{}", stderr(&output));
}

#[test]
fn mistakes_are_told() {
    let folder = TempDir::new().unwrap();
    let [truth, results] = files(folder.path(), 1);
    fails(&longmae(&arguments(&truth, &results, "keypoints")), 2, &["keypoints", "bbox, segm"]);
    fails(
        &longmae(&["coco-eval", "--annotations", &truth, "--iou-type", "bbox"]),
        2,
        &["--results"],
    );
    fails(&longmae(&arguments("no.json", &results, "bbox")), 1, &["no.json", "No such file"]);
    fails(&longmae(&arguments(&truth, "no.json", "bbox")), 1, &["no.json", "No such file"]);
    fails(&longmae(&arguments(&truth, &truth, "bbox")), 1, &["truth.json: not a list of results"]);
    fails(
        &longmae(&arguments(&results, &results, "bbox")),
        1,
        &["results.json: not a file of COCO's format"],
    );
    fs::write(&results, r#"[{"image_id": 4, "category_id": 1, "score": 1, "bbox": [0, 0, 1, 1]}]"#)
        .unwrap();
    fails(
        &longmae(&arguments(&truth, &results, "bbox")),
        1,
        &["results.json: result 1: image 4 is not in the annotations"],
    );
    let [_, results] = files(folder.path(), 1);
    let nowhere = folder.path().join("no/figures.json").display().to_string();
    let mut args = arguments(&truth, &results, "bbox");
    args.extend(["--json", &nowhere]);
    fails(&longmae(&args), 1, &["figures.json"]);
}
