//! Cases of `fixtures/make_coco_eval.py`.

use std::fs;

use longmae_finetune::detect::coco_eval::{Detections, GroundTruth, IouType};
use serde_json::Value;

/// Largest difference of a figure: they are the same up to the order in which the mean is summed.
pub const TOLERANCE: f64 = 1e-12;

/// Both, with their names.
pub fn iou_types() -> [(IouType, &'static str); 2] {
    [(IouType::Bbox, "bbox"), (IouType::Segm, "segm")]
}

/// Evaluates each case and compares its figures; gives how many there were.
pub fn assert_all_equal(text: &str) -> usize {
    let cases: Vec<Value> = serde_json::from_str(text).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let [truth_file, results] = ["truth.json", "results.json"].map(|name| folder.path().join(name));
    for (number, case) in cases.iter().enumerate() {
        fs::write(&truth_file, case["truth"].to_string()).unwrap();
        fs::write(&results, case["results"].to_string()).unwrap();
        for (iou_type, name) in iou_types() {
            let truth = GroundTruth::read(&truth_file, iou_type).unwrap();
            let evaluation = truth.evaluate(&Detections::read(&truth, &results).unwrap());
            let what = format!("case {number}, {name}");
            assert_close(&evaluation.stats(), &case[name]["stats"], &what);
            let per_category: Vec<_> = evaluation.per_category().map(|(_, ap)| ap).collect();
            assert_close(&per_category, &case[name]["per_category"], &what);
        }
    }
    cases.len()
}

#[track_caller]
fn assert_close(found: &[f64], expected: &Value, what: &str) {
    let expected: Vec<f64> =
        expected.as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect();
    assert_eq!(found.len(), expected.len(), "{what}");
    let close = found.iter().zip(&expected).all(|(a, b)| (a - b).abs() < TOLERANCE);
    assert!(close, "{what}: {found:?} here, {expected:?} by pycocotools");
}
