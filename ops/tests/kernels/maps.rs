//! Operations on maps with channels last: 3 x 3 convolution, pooling, features under boxes.

use candle_core::Tensor;
use longmae_ops::{Compute, Kernels, Roi, conv3x3, max_pool2, reference, roi_align};

use super::common::{
    BF16, Draw, FP32, assert_all_near, assert_same_bits, oracle, random, run, within,
};

const REFERENCE: Compute = Compute { kernels: Kernels::Reference, ..FP32 };

fn check_conv(shape: [usize; 4], outputs: usize) {
    let [batch, height, width, channels] = shape;
    let inputs = [
        random((batch, height, width, channels), 1),
        random((outputs, channels, 3, 3), 2),
        random(outputs, 3),
    ];
    let expected = oracle(Draw::Full, &inputs, |x| reference::conv3x3(&x[0], &x[1], &x[2]));
    // Operands rounded to 8 bits; where terms cancel, the error is that of the terms.
    let terms = (9 * channels.max(outputs)).max(batch * height * width);
    let rounded = within(4e-3, 4e-3 * (terms as f64).sqrt());
    for (compute, tolerance) in [(FP32, within(1e-6, 1e-6)), (BF16, rounded)] {
        let op = |x: &[Tensor]| conv3x3(&x[0], &x[1], Some(&x[2]), compute);
        let found = run(Draw::Full, &inputs, op).unwrap();
        let what = format!("conv3x3 {shape:?} to {outputs} {}", compute.precision);
        assert_all_near(&what, &found, &expected, tolerance);
    }
}

#[test]
fn convolutions_of_ragged_sizes() {
    for (height, width) in [(1, 1), (1, 5), (4, 1), (2, 2), (3, 7), (14, 14)] {
        for (channels, outputs) in [(1, 1), (3, 2), (8, 33), (32, 32)] {
            check_conv([2, height, width, channels], outputs);
        }
    }
}

#[test]
fn more_pixels_than_are_taken_at_once() {
    check_conv([1, 65, 67, 5], 7);
}

#[test]
fn a_convolution_that_does_not_fit_is_refused() {
    let x = random((1, 4, 4, 3), 1);
    for shape in [(2, 2, 3, 3), (2, 3, 1, 1)] {
        assert!(conv3x3(&x, &random(shape, 1), None, FP32).is_err());
    }
    let (weight, bias) = (random((2, 3, 3, 3), 1), random(3, 1));
    assert!(conv3x3(&x, &weight, Some(&bias), FP32).is_err());
}

#[test]
fn the_largest_of_four() {
    for (height, width) in [(2, 2), (5, 4), (6, 7)] {
        let inputs = [random((2, height, width, 3), 4)];
        let plain = run(Draw::Full, &inputs, |x| max_pool2(&x[0], REFERENCE)).unwrap();
        let found = run(Draw::Full, &inputs, |x| max_pool2(&x[0], FP32)).unwrap();
        assert_same_bits("max_pool2", &found, &plain);
    }
    assert!(max_pool2(&random((1, 1, 4, 1), 1), FP32).is_err());
}

fn rois() -> Vec<Roi> {
    let roi = |image, corners| Roi { image, corners };
    vec![
        roi(0, [1.5, 2.0, 17.0, 30.0]),
        roi(1, [0.0, 0.0, 48.0, 40.0]),
        roi(1, [-9.0, -5.0, 6.0, 4.0]),
        roi(0, [40.0, 30.0, 90.0, 70.0]),
        roi(1, [10.0, 10.0, 10.5, 10.25]),
        roi(0, [12.0, 12.0, 12.0, 20.0]),
        roi(0, [100.0, 100.0, 130.0, 130.0]),
    ]
}

#[test]
fn features_under_boxes() {
    for (channels, side, scale) in [(1, 1, 0.25), (5, 7, 0.25), (40, 3, 0.5), (33, 2, 1.0)] {
        let inputs = [random((2, 10, 12, channels), 5)];
        let op = |x: &[Tensor], compute| roi_align(&x[0], &rois(), side, scale, compute);
        let expected = oracle(Draw::Full, &inputs, |x| op(x, REFERENCE));
        let found = run(Draw::Full, &inputs, |x| op(x, FP32)).unwrap();
        let what = format!("roi_align {side} x {side} of {channels} channels");
        assert_all_near(&what, &found, &expected, within(1e-6, 1e-6));
    }
}

#[test]
fn boxes_that_make_no_sense_are_refused() {
    let map = random((1, 4, 4, 2), 1);
    let fails = |image, corners| roi_align(&map, &[Roi { image, corners }], 2, 1.0, FP32).is_err();
    assert!(fails(1, [0.0, 0.0, 1.0, 1.0]));
    assert!(fails(0, [0.0, f32::NAN, 1.0, 1.0]));
    assert!(fails(0, [0.0, 0.0, 1e9, 1.0]));
    assert!(!fails(0, [3.0, 3.0, 1.0, 1.0]));
    assert_eq!(roi_align(&map, &[], 2, 1.0, FP32).unwrap().dims(), [0, 2, 2, 2]);
}
