//! Boxes against torchvision and detectron2's formulas.

use candle_core::{Tensor, Var};
use longmae_finetune::detect::{
    Anchors, BoxCoding, BoxLoss, Label, Matcher, boxes::iou, nms, paste,
};

use super::fixture::{Fixture, GRADIENT, assert_relative};

#[track_caller]
fn near(found: impl IntoIterator<Item = f32>, expected: &[f32], tolerance: f32) {
    let found: Vec<f32> = found.into_iter().collect();
    assert_eq!(found.len(), expected.len());
    for (i, (a, b)) in found.iter().zip(expected).enumerate() {
        assert!((a - b).abs() <= tolerance * b.abs().max(1.0), "{i}: {a}, expected {b}");
    }
}

#[test]
fn anchors() {
    let anchors = Anchors::pyramid(16);
    assert_eq!(anchors.strides, [4, 8, 16, 32, 64]);
    assert_eq!(anchors.sizes, [32.0, 64.0, 128.0, 256.0, 512.0]);
    let fixture = Fixture::open("boxes");
    near(anchors.of_map(0, (2, 3)).concat(), &fixture.numbers("anchors"), 1e-6);
}

#[test]
fn overlaps() {
    let fixture = Fixture::open("boxes");
    let (a, b) = (fixture.boxes("a"), fixture.boxes("b"));
    let found = a.iter().flat_map(|a| b.iter().map(|b| iou(*a, *b)));
    near(found, &fixture.numbers("iou"), 1e-6);
}

#[test]
fn coding() {
    let fixture = Fixture::open("boxes");
    let (a, b, coding) = (fixture.boxes("a"), fixture.boxes("b"), BoxCoding::HEAD);
    let encoded = a.iter().enumerate().flat_map(|(i, a)| coding.encode(*a, b[i % b.len()]));
    near(encoded, &fixture.numbers("encoded"), 1e-5);
    let decoded = a.iter().zip(fixture.boxes("deltas")).flat_map(|(a, d)| coding.decode(*a, d));
    near(decoded, &fixture.numbers("decoded"), 1e-5);
    let decoded = coding.decode_tensor(&a, fixture.get("deltas")).unwrap();
    let decoded: Vec<f32> = decoded.flatten_all().unwrap().to_vec1().unwrap();
    near(decoded, &fixture.numbers("decoded"), 1e-5);
}

#[test]
fn matches() {
    let fixture = Fixture::open("boxes");
    for (name, matcher) in [("rpn", Matcher::PROPOSALS), ("head", Matcher::head(0.5))] {
        let get = |part: &str| format!("match.{name}.{part}");
        let found = matcher.matches(&fixture.boxes(&get("truth")), &fixture.boxes(&get("boxes")));
        let labels: Vec<i64> = found
            .iter()
            .map(|found| match found.label {
                Label::Ignored => 0,
                Label::Background => 1,
                Label::Object => 2,
            })
            .collect();
        assert_eq!(labels, fixture.integers(&get("labels")));
        assert!(labels.contains(&1) && labels.contains(&2));
        let truths: Vec<i64> = found.iter().map(|found| found.truth as i64).collect();
        assert_eq!(truths, fixture.integers(&get("matches")));
    }
}

#[test]
fn nothing_true_makes_all_background() {
    let found = Matcher::PROPOSALS.matches(&[], &[[0.0, 0.0, 1.0, 1.0]]);
    assert_eq!(found[0].label, Label::Background);
}

#[test]
fn suppression_is_torchvisions() {
    let fixture = Fixture::open("boxes");
    let groups: Vec<u32> = fixture.integers("nms.groups").iter().map(|x| *x as u32).collect();
    let found = nms(&fixture.boxes("nms.boxes"), &fixture.numbers("nms.scores"), &groups, 0.5);
    let expected: Vec<usize> = fixture.integers("nms.kept").iter().map(|x| *x as usize).collect();
    assert_eq!(found, expected);
}

#[test]
fn losses() {
    let fixture = Fixture::open("boxes");
    let (a, b) = (fixture.boxes("a"), fixture.boxes("b"));
    let to: Vec<_> = (0..a.len()).map(|i| b[i % b.len()]).collect();
    for (name, loss) in [
        ("giou", BoxLoss::GeneralisedIou),
        ("smooth_l1", BoxLoss::SmoothL1 { beta: 0.5 }),
        ("l1", BoxLoss::SmoothL1 { beta: 0.0 }),
    ] {
        let get = |part: &str| fixture.get(&format!("{name}.{part}"));
        let x = Var::from_tensor(get("x")).unwrap();
        let found: Tensor = loss.sum(BoxCoding::HEAD, &a, &x, &to).unwrap();
        assert_relative(name, &found.reshape(1).unwrap(), get("y"), 1e-5);
        let gradients = longmae_ops::backward(&found).unwrap();
        assert_relative(name, gradients.get(&x).unwrap(), get("dx"), GRADIENT);
    }
}

#[test]
fn pasting() {
    let fixture = Fixture::open("boxes");
    let mask = fixture.numbers("paste.mask");
    let expected = fixture.integers("paste.pixels");
    let boxes = fixture.boxes("paste.boxes");
    for (corners, expected) in boxes.iter().zip(expected.chunks_exact(32 * 36)) {
        let found = paste(&mask, *corners, (32, 36));
        assert!(found.iter().any(|x| *x));
        assert!(found.iter().zip(expected).all(|(a, b)| i64::from(*a) == *b));
    }
}
