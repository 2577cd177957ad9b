//! Images with their objects against detectron2's formulas (`fixtures/make_detection.py`).

mod common;

use std::sync::Arc;

use common::{bytes_of, distance, fixture_bytes, shared, u8s};
use longmae_data::rle::Rle;
use longmae_data::rng::{Purpose, stream};
use longmae_data::transform::detection::{
    Detection, DetectionEval, DetectionTraining, FixedSizeCrop, LargeScaleJitter, Motion,
    ResizeScale, ResizeShortestEdge,
};
use longmae_data::{
    Coco, DecodeOptions, Error, Image, Instance, Instances, Normalize, Picture, Pixels,
    Segmentation, Size, Source, Target, Transform,
};
use safetensors::SafeTensors;
use serde_json::Value;

const TARGET: Size = Size { height: 40, width: 40 };

fn cases(name: &str) -> Vec<Value> {
    let all: Value = serde_json::from_slice(&fixture_bytes("detection.json")).unwrap();
    all[name].as_array().unwrap().clone()
}

fn int(value: &Value) -> usize {
    value.as_u64().unwrap() as usize
}

fn floats(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

fn picture(height: usize, width: usize) -> Image {
    let sample = |y: usize, x: usize, c: usize| ((x * 7 + y * 13 + c * 50 + x * y) % 256) as u8;
    let pixel = move |y, x| (0..3).map(move |c| sample(y, x, c));
    let samples =
        (0..height).flat_map(move |y| (0..width).flat_map(move |x| pixel(y, x))).collect();
    Image::new(width, height, 3, Pixels::U8(samples)).unwrap()
}

fn instance(id: usize, case: &Value, size: Size) -> Instance {
    let segmentation = match &case["segmentation"] {
        Value::Array(polygons) => {
            Segmentation::Polygons(polygons.iter().map(floats).collect::<Vec<_>>().into())
        }
        runs => {
            let rle = Rle::parse(runs["counts"].as_str().unwrap(), size).unwrap();
            Segmentation::Mask(Arc::new(rle))
        }
    };
    Instance {
        id: id as i64,
        category: 0,
        bbox: floats(&case["bbox"]).try_into().unwrap(),
        area: 100.0,
        crowd: case["crowd"] == 1,
        segmentation: Some(segmentation),
    }
}

fn detection(case: &Value) -> Detection {
    let size = Size::new(int(&case["height"]), int(&case["width"])).unwrap();
    let list = case["instances"].as_array().unwrap().iter().enumerate();
    let list = list.map(|(id, one)| instance(id, one, size)).collect();
    Detection { image: picture(size.height, size.width), instances: Instances { size, list } }
}

fn moved(case: &Value) -> Detection {
    let mut detection = detection(case);
    if case["flip"] == true {
        detection = detection.moved(&Motion::Flip).unwrap();
    }
    let resize = ResizeScale::new((0.1, 2.0), TARGET).unwrap();
    let size = resize.size(detection.instances.size, case["scale"].as_f64().unwrap());
    assert_eq!([size.height, size.width].to_vec(), ints(&case["resized"]));
    let pad = (case["pad"] == true).then_some(128);
    let crop = FixedSizeCrop { size: TARGET, pad };
    let window = crop.window(size, case["u"].as_f64().unwrap());
    let Motion::Crop { top, left, .. } = window else { panic!("{window:?}") };
    assert_eq!([top, left].to_vec(), ints(&case["offset"]));
    detection = detection.moved(&Motion::Resize(size)).unwrap().moved(&window).unwrap();
    match crop.padding() {
        Some(padding) => detection.moved(&padding).unwrap(),
        None => detection,
    }
}

fn ints(value: &Value) -> Vec<usize> {
    value.as_array().unwrap().iter().map(int).collect()
}

fn assert_box(found: [f64; 4], expected: &Value, what: &str) {
    let [x, y, width, height] = found;
    for (found, expected) in [x, y, x + width, y + height].iter().zip(floats(expected)) {
        assert!((found - expected).abs() < 1e-4, "{what}: {found} for {expected}");
    }
}

/// Twice the sum of what polygons enclose.
fn area(polygons: &[Vec<f64>]) -> f64 {
    let ring = |xy: &Vec<f64>| {
        let points: Vec<_> = xy.chunks_exact(2).collect();
        let next = points.iter().cycle().skip(1);
        points.iter().zip(next).map(|(a, b)| a[0] * b[1] - a[1] * b[0]).sum::<f64>().abs()
    };
    polygons.iter().map(ring).sum::<f64>() / 2.0
}

fn assert_outline(one: &Instance, expected: &Value, size: Size, what: &str) {
    let outline = one.segmentation.as_ref().unwrap();
    if let Segmentation::Polygons(polygons) = outline {
        let (found, expected) = (area(polygons), expected["area"].as_f64().unwrap());
        assert!((found - expected).abs() < 1e-4 * expected.max(1.0), "{what}: {found} {expected}");
    }
    let expected = Rle::parse(expected["mask"].as_str().unwrap(), size).unwrap();
    let found = outline.to_mask(size).unwrap();
    match outline {
        Segmentation::Mask(_) => assert_eq!(*found, expected, "{what}"),
        // The corners of clipped polygons differ in the last bit, which may turn a pixel at the edge.
        Segmentation::Polygons(_) => {
            let differ = found
                .to_bitmap()
                .iter()
                .zip(expected.to_bitmap())
                .filter(|(a, b)| **a != *b)
                .count();
            assert!(differ <= 2, "{what}: {differ} pixels");
        }
    }
}

#[test]
fn jitter_is_detectron2s() {
    let file = fixture_bytes("detection.safetensors");
    let images = SafeTensors::deserialize(&file).unwrap();
    let (mut kept, mut dropped) = (0, 0);
    for (i, case) in cases("jitter").iter().enumerate() {
        let detection = moved(case);
        let (shape, pixels) = bytes_of(&images, &format!("jitter.{i}"));
        assert_eq!([detection.image.height, detection.image.width, 3].to_vec(), shape, "case {i}");
        let far = distance(u8s(&detection.image), pixels);
        assert!(far.max <= 1, "case {i}: {far:?}");
        let size = detection.instances.size;
        let (plain, tight) =
            (detection.clone().settled(false, true), detection.settled(true, true));
        for (id, expected) in case["expected"].as_array().unwrap().iter().enumerate() {
            let find = |all: &Detection| {
                all.instances.list.iter().find(|one| one.id == id as i64).cloned()
            };
            let what = format!("object {id} of case {i}");
            assert_eq!(find(&plain).is_some(), expected["kept"] == true, "{what}");
            assert_eq!(find(&tight).is_some(), expected["kept_tight"] == true, "{what}");
            if let Some(one) = find(&plain) {
                assert_box(one.bbox, &expected["box"], &what);
                assert_outline(&one, expected, size, &what);
            }
            if let Some(one) = find(&tight) {
                assert_box(one.bbox, &expected["tight"], &what);
            }
            (kept, dropped) = match expected["kept"] == true {
                true => (kept + 1, dropped),
                false => (kept, dropped + 1),
            };
        }
    }
    assert!(kept > 40 && dropped > 3, "{kept} {dropped}");
}

#[test]
fn the_shortest_edge_is_detectron2s() {
    for case in cases("edges") {
        let [height, width, short, longest, new_height, new_width] = ints(&case)[..] else {
            panic!("{case}")
        };
        let resize = ResizeShortestEdge::new(short, longest).unwrap();
        let expected = Size { height: new_height.max(1), width: new_width.max(1) };
        assert_eq!(resize.size(Size { height, width }), expected, "{case}");
    }
    let file = fixture_bytes("detection.safetensors");
    let images = SafeTensors::deserialize(&file).unwrap();
    let (shape, pixels) = bytes_of(&images, "edge");
    let size = Size { height: 37, width: 61 };
    let instances = Instances { size, list: [].into() };
    let detection = Detection { image: picture(37, 61), instances };
    let resized = ResizeShortestEdge::new(30, 45).unwrap().apply(detection).unwrap();
    assert_eq!([resized.instances.size.height, resized.instances.size.width], shape[..2]);
    assert!(distance(u8s(&resized.image), pixels).max <= 1);
    assert!(ResizeShortestEdge::new(0, 5).is_err() && ResizeShortestEdge::new(5, 0).is_err());
}

#[test]
fn jitter_draws_from_its_generator_and_leaves_out_crowds() {
    let case = &cases("jitter")[6];
    let jitter = LargeScaleJitter::new(TARGET).unwrap();
    let apply =
        |seed| jitter.apply(detection(case), &mut stream(seed, 0, 0, Purpose::Augment)).unwrap();
    assert_eq!(apply(1), apply(1));
    assert_ne!(apply(1), apply(2));
    for seed in 0..50 {
        let all = apply(seed);
        assert_eq!((all.image.height, all.image.width), (40, 40));
        assert_eq!(all.instances.size, TARGET);
        for one in all.instances.list.iter() {
            assert!(!one.crowd && one.bbox[2] > 0.0 && one.bbox[3] > 0.0);
            assert!(one.bbox[0] >= 0.0 && one.bbox[0] + one.bbox[2] <= 40.0 + 1e-9);
        }
    }
    let keeping = LargeScaleJitter { keep_crowds: true, ..jitter.clone() };
    let all = keeping.apply(detection(case), &mut stream(1, 0, 0, Purpose::Augment)).unwrap();
    assert!(all.instances.list.iter().any(|one| one.crowd));
    assert!(LargeScaleJitter::new(Size { height: 0, width: 4 }).is_err());
    assert!(ResizeScale::new((0.0, 1.0), TARGET).is_err());
}

#[test]
fn floats_are_moved_and_filled_up_as_bytes_are() {
    let bytes = picture(12, 17);
    let floats = u8s(&bytes).iter().map(|&v| f32::from(v) / 255.0).collect();
    let floats = Image { pixels: Pixels::F32(floats), ..bytes.clone() };
    let pad = Motion::Pad { size: Size { height: 20, width: 15 }, value: 128 };
    for motion in [Motion::Flip, Motion::Resize(Size { height: 7, width: 9 }), pad] {
        let (bytes, floats) =
            (motion.image(bytes.clone()).unwrap(), motion.image(floats.clone()).unwrap());
        assert_eq!((bytes.width, bytes.height), (floats.width, floats.height));
        let Pixels::F32(samples) = &floats.pixels else { panic!("floats expected") };
        for (a, &b) in samples.iter().zip(u8s(&bytes)) {
            assert!((a * 255.0 - f32::from(b)).abs() < 1.6, "{motion:?}: {a} {b}");
        }
    }
}

#[test]
fn what_cannot_be_is_refused() {
    let sizes = Size { height: 4, width: 5 };
    let instances = Instances { size: sizes, list: [].into() };
    let error = Detection::new(&picture(5, 4).into(), instances.clone()).unwrap_err();
    assert!(matches!(error, Error::SizesDiffer { height: 5, expected_height: 4, .. }), "{error}");
    let outside = Motion::Crop { top: 4, left: 0, size: sizes };
    let detection = Detection::new(&picture(4, 5).into(), instances).unwrap();
    assert!(matches!(detection.clone().moved(&outside), Err(Error::Crop { top: 4, .. })));
    let rle = Rle::empty(Size { height: 5, width: 4 }).unwrap();
    let wrong = Instance {
        id: 1,
        category: 0,
        bbox: [0.0; 4],
        area: 0.0,
        crowd: false,
        segmentation: Some(Segmentation::Mask(Arc::new(rle))),
    };
    let instances = Instances { size: sizes, list: [wrong].into() };
    let detection = Detection { instances, ..detection };
    assert!(matches!(detection.moved(&Motion::Flip), Err(Error::Mask { .. })));
}

fn normalize() -> Normalize {
    Normalize::new(vec![0.4, 0.5, 0.6], vec![0.2, 0.3, 0.4]).unwrap()
}

/// Normalised as the crop alone would be, then zeros to the right and below; the target is the crop's.
#[test]
fn what_a_detector_is_trained_on_is_filled_up_after_normalising() {
    let jitter = LargeScaleJitter::new(TARGET).unwrap();
    let training = DetectionTraining::new(jitter.clone(), normalize());
    let unpadded =
        LargeScaleJitter { crop: FixedSizeCrop { size: TARGET, pad: None }, ..jitter.clone() };
    let (mut small, mut objects) = (0, 0);
    for (number, case) in cases("jitter").iter().enumerate() {
        let rng = || stream(3, 0, number as u64, Purpose::Crop);
        let whole = detection(case);
        let expected = unpadded.apply(whole.clone(), &mut rng()).unwrap();
        let planes = normalize().apply(&expected.image).unwrap();
        let picture = Picture::from(whole.image.clone());
        let known = Target::Instances(whole.instances.clone());
        let mut pixels = vec![7.0];
        let (shape, target) =
            training.append_with(&picture, known, &mut rng(), &mut pixels).unwrap();
        assert_eq!((shape, pixels.len()), ([3, 40, 40], 1 + 3 * 40 * 40));
        assert_eq!(target, Target::Instances(expected.instances.clone()));
        let Size { height, width } = expected.instances.size;
        for (at, value) in pixels[1..].iter().enumerate() {
            let (channel, y, x) = (at / 1600, at / 40 % 40, at % 40);
            let inside = y < height && x < width;
            let expected =
                if inside { planes.data[(channel * height + y) * width + x] } else { 0.0 };
            assert_eq!(*value, expected, "case {number}: {channel} {y} {x}");
        }
        small += usize::from(height < 40 || width < 40);
        objects += expected.instances.list.len();
    }
    assert!(small > 3 && objects > 20, "{small} {objects}");
    let picture = Picture::from(picture(5, 6));
    let mut rng = stream(0, 0, 0, Purpose::Crop);
    let refused = training.append_with(&picture, Target::Class(1), &mut rng, &mut Vec::new());
    assert!(refused.unwrap_err().to_string().contains("annotations with boxes"));
    let size = Size { height: 6, width: 5 };
    let turned = Target::Instances(Instances { size, list: [].into() });
    let eval = DetectionEval::new(40, normalize()).unwrap();
    for transform in [&training as &dyn Transform, &eval] {
        let refused = transform.append_with(&picture, turned.clone(), &mut rng, &mut Vec::new());
        assert!(matches!(refused, Err(Error::SizesDiffer { height: 5, .. })));
    }
}

#[test]
fn evaluation_sees_the_whole_image_in_a_square() {
    let eval = DetectionEval::new(40, normalize()).unwrap();
    let (file, content) = (Size { height: 37, width: 61 }, Size { height: 24, width: 40 });
    assert_eq!(eval.content(file), content);
    let resized = Motion::Resize(content).image(picture(37, 61)).unwrap();
    let planes = normalize().apply(&resized).unwrap();
    let instances = Target::Instances(Instances { size: file, list: [].into() });
    let mut pixels = Vec::new();
    let mut rng = stream(0, 0, 0, Purpose::Crop);
    let whole = Picture::from(picture(37, 61));
    let (shape, target) =
        eval.append_with(&whole, instances.clone(), &mut rng, &mut pixels).unwrap();
    assert_eq!((shape, target), ([3, 40, 40], instances));
    for (at, value) in pixels.iter().enumerate() {
        let (channel, y, x) = (at / 1600, at / 40 % 40, at % 40);
        let expected = if y < 24 { planes.data[(channel * 24 + y) * 40 + x] } else { 0.0 };
        assert_eq!(*value, expected, "{channel} {y} {x}");
    }
    assert!(DetectionEval::new(0, normalize()).is_err());
}

/// All objects of the first images: a crop of nothing leaves masks as they are, and boxes around what they were.
#[test]
fn objects_of_coco_keep_to_their_images() {
    let Some(shared) = shared() else { return };
    let coco = Coco::open(shared.join("data/coco-tiny"), Some("val2017"), DecodeOptions::default());
    let coco = coco.unwrap();
    let jitter = LargeScaleJitter::new(Size { height: 256, width: 256 }).unwrap();
    let (mut before, mut after) = (0, 0);
    for i in 0..10 {
        let sample = coco.get(i).unwrap();
        let Target::Instances(instances) = sample.target else { panic!("{}", sample.id) };
        before += instances.list.len();
        let detection = Detection::new(&sample.picture, instances).unwrap();
        let mut rng = stream(5, 0, i as u64, Purpose::Augment);
        let moved = jitter.apply(detection, &mut rng).unwrap();
        after += moved.instances.list.len();
        for one in moved.instances.list.iter() {
            let mask = one.segmentation.as_ref().unwrap().to_mask(moved.instances.size).unwrap();
            let [x, y, width, height] = mask.bbox();
            let [left, top, wide, high] = one.bbox;
            // Pixels that the outline covers by less than half are not of the mask.
            if mask.area() > 0 {
                assert!(x >= left - 1.0 && y >= top - 1.0, "{} {}", sample.id, one.id);
                assert!(x + width <= left + wide + 1.0, "{} {}", sample.id, one.id);
                assert!(y + height <= top + high + 1.0, "{} {}", sample.id, one.id);
            }
        }
    }
    assert!(after > before / 4 && after <= before, "{before} {after}");
}
