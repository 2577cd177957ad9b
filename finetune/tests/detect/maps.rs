//! Operations on maps against torch and torchvision.

use candle_core::{Tensor, Var};
use longmae_ops::{Roi, conv3x3, max_pool2, roi_align, roi_align_mask};

use super::fixture::{
    FUSED, Fixture, GRADIENT, REFERENCE, assert_close, assert_relative, channels_first,
    channels_last,
};

/// Runs an operation on maps, whose fixture has channels first, and compares output and gradients.
fn check(name: &str, inputs: &[&str], run: impl Fn(&[Tensor]) -> Tensor) {
    let fixture = Fixture::open("boxes");
    let get = |part: &str| fixture.get(&format!("{name}.{part}"));
    let input = |part: &&str| match *part {
        "x" => channels_last(get("x")),
        other => get(other).clone(),
    };
    let vars: Vec<Var> =
        inputs.iter().map(|name| Var::from_tensor(&input(name)).unwrap()).collect();
    let tensors: Vec<Tensor> = vars.iter().map(|var| var.as_tensor().clone()).collect();
    let y = channels_first(&run(&tensors));
    assert_close(name, &y, get("y"), 1e-5);
    let gradients = longmae_ops::backward(&(y * get("dy")).unwrap().sum_all().unwrap()).unwrap();
    for (part, var) in inputs.iter().zip(&vars) {
        let found = gradients.get(var).unwrap();
        let found = if *part == "x" { channels_first(found) } else { found.clone() };
        assert_relative(&format!("{name} d{part}"), &found, get(&format!("d{part}")), GRADIENT);
    }
}

#[test]
fn convolution() {
    for compute in [FUSED, REFERENCE] {
        check("conv", &["x", "weight", "bias"], |x| {
            conv3x3(&x[0], &x[1], Some(&x[2]), compute).unwrap()
        });
    }
}

#[test]
fn pooling() {
    for compute in [FUSED, REFERENCE] {
        check("max_pool", &["x"], |x| max_pool2(&x[0], compute).unwrap());
    }
}

#[test]
fn features_under_boxes() {
    let fixture = Fixture::open("boxes");
    let rois: Vec<Vec<f32>> = fixture.get("roi_align.rois").to_vec2().unwrap();
    let rois: Vec<Roi> = rois
        .iter()
        .map(|row| Roi { image: row[0] as usize, corners: [row[1], row[2], row[3], row[4]] })
        .collect();
    for compute in [FUSED, REFERENCE] {
        check("roi_align", &["x"], |x| roi_align(&x[0], &rois, 7, 0.25, compute).unwrap());
    }
}

#[test]
fn shares_of_masks() {
    let fixture = Fixture::open("boxes");
    let mask: Vec<u8> = fixture.get("mask").flatten_all().unwrap().to_vec1().unwrap();
    let expected = fixture.numbers("mask.shares");
    for (corners, expected) in fixture.boxes("mask.boxes").iter().zip(expected.chunks_exact(16)) {
        let found = roi_align_mask(&mask, (40, 50), *corners, 4);
        assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-5));
    }
}
