//! Masks of runs against pycocotools (`fixtures/make_rle.py`).

mod common;

use common::fixture_bytes;
use longmae_data::rle::{Rle, box_iou};
use longmae_data::{MAX_PIXELS, Size};
use serde_json::Value;

fn cases(name: &str) -> Vec<Value> {
    let all: Value = serde_json::from_slice(&fixture_bytes("rle.json")).unwrap();
    all[name].as_array().unwrap().clone()
}

fn size(case: &Value) -> Size {
    let side = |name: &str| case[name].as_u64().unwrap() as usize;
    Size::new(side("height"), side("width")).unwrap()
}

fn floats(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

fn four(value: &Value) -> [f64; 4] {
    floats(value).try_into().unwrap()
}

fn bools(value: &Value) -> Vec<bool> {
    value.as_array().unwrap().iter().map(|v| v.as_u64().unwrap() != 0).collect()
}

fn assert_same(rle: &Rle, case: &Value) {
    assert_eq!(rle.to_compressed(), case["counts"], "{case}");
    assert_eq!(rle.area(), case["area"].as_u64().unwrap(), "{case}");
    assert_eq!(rle.bbox(), four(&case["bbox"]), "{case}");
    assert_eq!(&Rle::parse(&rle.to_compressed(), rle.size()).unwrap(), rle, "{case}");
    assert_eq!(&Rle::from_bitmap(&rle.to_bitmap(), rle.size()).unwrap(), rle, "{case}");
}

#[test]
fn bitmaps_are_encoded_as_pycocotools_does() {
    let cases = cases("bitmaps");
    assert!(cases.len() > 40);
    for case in cases {
        let Some(bits) = case["bits"].as_str() else {
            let rle = Rle::parse(case["counts"].as_str().unwrap(), size(&case)).unwrap();
            assert_same(&rle, &case);
            continue;
        };
        let bitmap: Vec<u8> = bits.bytes().map(|b| b - b'0').collect();
        let rle = Rle::from_bitmap(&bitmap, size(&case)).unwrap();
        assert_same(&rle, &case);
        assert_eq!(rle.to_bitmap(), bitmap);
    }
}

#[test]
fn polygons_and_boxes_are_drawn_as_pycocotools_does() {
    let polygons = cases("polygons");
    assert!(polygons.len() > 180);
    for case in polygons {
        assert_same(&Rle::from_polygon(&floats(&case["xy"]), size(&case)).unwrap(), &case);
    }
    for case in cases("boxes") {
        assert_same(&Rle::from_box(four(&case["box"]), size(&case)).unwrap(), &case);
    }
}

#[test]
fn masks_are_merged_and_compared_as_pycocotools_does() {
    for case in cases("groups") {
        let texts = case["counts"].as_array().unwrap();
        let masks: Vec<_> =
            texts.iter().map(|t| Rle::parse(t.as_str().unwrap(), size(&case)).unwrap()).collect();
        assert_eq!(Rle::union(&masks).unwrap().to_compressed(), case["union"], "{case}");
        let common = Rle::intersection(&masks).unwrap();
        assert_eq!(common.to_compressed(), case["intersection"], "{case}");
        for (found, row) in masks.iter().zip(case["iou"].as_array().unwrap()) {
            for ((truth, crowd), iou) in masks.iter().zip(bools(&case["crowd"])).zip(floats(row)) {
                assert_eq!(found.iou(truth, crowd).unwrap(), iou, "{case}");
            }
        }
    }
}

#[test]
fn boxes_overlap_as_in_pycocotools() {
    let all: Value = serde_json::from_slice(&fixture_bytes("rle.json")).unwrap();
    let case = &all["box_overlaps"];
    let boxes =
        |name: &str| -> Vec<_> { case[name].as_array().unwrap().iter().map(four).collect() };
    let (truths, crowd) = (boxes("true"), bools(&case["crowd"]));
    for (found, row) in boxes("found").into_iter().zip(case["iou"].as_array().unwrap()) {
        for ((truth, &crowd), iou) in truths.iter().zip(&crowd).zip(floats(row)) {
            assert_eq!(box_iou(found, *truth, crowd), iou, "{found:?} {truth:?}");
        }
    }
}

#[test]
fn empty_runs_are_joined() {
    let size = Size::new(2, 5).unwrap();
    let rle = |counts: &[u32]| Rle::new(counts.iter().copied(), size);
    assert_eq!(rle(&[2, 0, 1, 4, 0, 3]).unwrap().counts(), [3, 7]);
    assert_eq!(rle(&[0, 4, 6]).unwrap().counts(), [0, 4, 6]);
    assert_eq!(rle(&[0, 0, 0, 4, 0, 0, 6, 0]).unwrap().counts(), [0, 4, 6]);
    assert_eq!(rle(&[0, 0, 10]).unwrap().counts(), [10]);
    assert_eq!(Rle::empty(size).unwrap().counts(), [10]);
}

#[test]
fn masks_that_cannot_be_are_refused() {
    let small = Size::new(2, 5).unwrap();
    for counts in [vec![], vec![9], vec![4, 7], vec![u32::MAX; 4], vec![10, u32::MAX, 1]] {
        assert!(Rle::new(counts.clone(), small).is_err(), "{counts:?}");
    }
    let message = Rle::new([4, 7], small).unwrap_err().to_string();
    assert!(message.contains("at least 11 pixels, the image of 2 x 5 has 10"), "{message}");
    let huge = Size { height: MAX_PIXELS as usize, width: 2 };
    for size in [huge, Size { height: usize::MAX, width: usize::MAX }, Size { height: 0, width: 1 }]
    {
        assert!(Rle::empty(size).is_err() && Rle::parse("0", size).is_err());
        assert!(Rle::from_bitmap(&[], size).is_err());
        assert!(Rle::from_polygon(&[0.0; 6], size).is_err());
    }
    assert!(Rle::from_bitmap(&[1; 9], small).is_err());
    for xy in [&[][..], &[1.0], &[f64::NAN; 6], &[f64::INFINITY, 0.0], &[1e300, 0.0, 0.0, 0.0]] {
        assert!(Rle::from_polygon(xy, small).is_err(), "{xy:?}");
    }
    let long: Vec<f64> = (0..20).flat_map(|i| [f64::from(i % 2) * 9e6, 0.0]).collect();
    assert!(Rle::from_polygon(&long, small).unwrap_err().to_string().contains("pixels long"));
    let other = Rle::empty(Size::new(5, 2).unwrap()).unwrap();
    assert!(Rle::union([&other, &Rle::empty(small).unwrap()]).is_err());
    assert!(other.iou(&Rle::empty(small).unwrap(), false).is_err());
    assert!(Rle::union([]).is_err());
}

/// Any bytes at all give a mask or an error.
#[test]
fn no_string_does_harm() {
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::{RngCore, SeedableRng};
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let mut parsed = 0;
    for _ in 0..20_000 {
        let length = rng.next_u32() % 12;
        let text: String =
            (0..length).map(|_| char::from(47 + (rng.next_u32() % 66) as u8)).collect();
        let size = Size { height: 1 + rng.next_u32() as usize % 6, width: 1 };
        if let Ok(rle) = Rle::parse(&text, size) {
            parsed += 1;
            assert_eq!(Rle::parse(&rle.to_compressed(), size).unwrap(), rle);
        }
    }
    assert!(parsed > 10, "{parsed}");
}
