//! Operations that go row by row or number by number: norm, GELU, the loss.

use candle_core::{Device, Tensor};
use longmae_ops::{gelu, layer_norm, pixel_loss, reference};

use super::common::{
    BF16, Draw, FP32, assert_all_near, assert_near, numbers, oracle, random, run, within,
};

#[test]
fn layer_norm_on_ragged_sizes() {
    for width in [1, 2, 3, 15, 16, 17, 31, 33, 48, 100] {
        for rows in [1, 2, 31, 32, 33, 70] {
            let inputs = [random((rows, width), 1), random(width, 2), random(width, 3)];
            let plain = |x: &[Tensor]| reference::layer_norm(&x[0], &x[1], &x[2], 1e-2);
            let expected = oracle(Draw::Full, &inputs, plain);
            let fused = |x: &[Tensor]| layer_norm(&x[0], &x[1], &x[2], 1e-2, FP32);
            let found = run(Draw::Full, &inputs, fused).unwrap();
            let what = format!("norm of {rows} x {width}");
            assert_all_near(&what, &found, &expected, within(1e-6, 1e-6));
        }
    }
}

#[test]
fn layer_norm_keeps_small_differences_on_a_large_mean() {
    let x = (random((5, 100), 1) + 1000.0).unwrap();
    let inputs = [x, random(100, 2), random(100, 3)];
    let plain = |x: &[Tensor]| reference::layer_norm(&x[0], &x[1], &x[2], 1e-6);
    let expected = oracle(Draw::Full, &inputs, plain);
    let fused = |x: &[Tensor]| layer_norm(&x[0], &x[1], &x[2], 1e-6, FP32);
    let found = run(Draw::Full, &inputs, fused).unwrap();
    // A mean of 1000 in f32 is only known to 6e-5.
    assert_all_near("norm", &found, &expected, within(1e-4, 0.0));
}

#[test]
fn gelu_on_every_length() {
    for len in (1..=70).chain([32_767, 32_768, 32_769, 100_000]) {
        let inputs = [(random(len, 1) * 3.0).unwrap()];
        let expected = oracle(Draw::Full, &inputs, |x| x[0].gelu_erf());
        let found = run(Draw::Full, &inputs, |x| gelu(&x[0], FP32)).unwrap();
        assert_all_near(&format!("gelu of {len}"), &found, &expected, within(0.0, 3e-7));
    }
}

#[test]
fn gelu_is_exact_to_1e6_at_every_number() {
    let x = Tensor::arange(-12_000.0_f32, 12_000.0, &Device::Cpu).unwrap();
    let inputs = [(x / 1000.0).unwrap()];
    let expected = oracle(Draw::Full, &inputs, |x| x[0].gelu_erf());
    let found = run(Draw::Full, &inputs, |x| gelu(&x[0], FP32)).unwrap();
    for (found, expected) in found.iter().zip(&expected) {
        for (found, expected) in numbers(found).iter().zip(numbers(expected)) {
            assert!((found - expected).abs() <= 1e-6, "{found} instead of {expected}");
        }
    }
}

/// Weights of patches with zeros among them.
fn patch_weights(batch: usize, count: usize) -> Tensor {
    let weights: Vec<f32> = (0..batch * count).map(|i| [0.0, 1.0, 0.5, 1.0][(i + 1) % 4]).collect();
    Tensor::from_vec(weights, (batch, count), &Device::Cpu).unwrap()
}

#[test]
fn pixel_loss_on_ragged_sizes() {
    for pixels in [1, 2, 3, 15, 17, 48, 100] {
        for (batch, count, front) in [(1, 1, 0), (2, 5, 1), (3, 17, 2), (1, 40, 0)] {
            for norm_pix in [false, true] {
                let what = format!("{batch} x {front}+{count} x {pixels}, {norm_pix}");
                one_pixel_loss(&what, [batch, count, pixels], front, norm_pix);
            }
        }
    }
}

fn one_pixel_loss(what: &str, [batch, count, pixels]: [usize; 3], front: usize, norm_pix: bool) {
    let inputs = [random((batch, front + count, pixels), 1)];
    let patches = random((batch, count, pixels), 2);
    let weights = patch_weights(batch, count);
    let expected = oracle(Draw::Full, &inputs, |x| {
        let (patches, weights) = (patches.to_dtype(x[0].dtype())?, weights.to_dtype(x[0].dtype())?);
        let pred = x[0].narrow(1, front, count)?;
        reference::pixel_loss(&pred, &patches, &weights, norm_pix)
    });
    for compute in [FP32, BF16] {
        let fused = |x: &[Tensor]| pixel_loss(&x[0], &patches, &weights, norm_pix, compute);
        let found = run(Draw::Full, &inputs, fused).unwrap();
        // Normalising two almost equal pixels cancels digits.
        assert_all_near(what, &found, &expected, within(1e-5, 0.0));
        let front = numbers(&found[1].narrow(1, 0, front).unwrap());
        assert!(front.iter().all(|x| *x == 0.0), "{what}: a gradient in front of the patches");
    }
}

#[test]
fn pixel_loss_of_no_patch_is_nan() {
    let (pred, patches) = (random((1, 3, 4), 1), random((1, 3, 4), 2));
    let weights = Tensor::zeros((1, 3), candle_core::DType::F32, &Device::Cpu).unwrap();
    let loss = pixel_loss(&pred, &patches, &weights, true, FP32).unwrap();
    assert!(loss.to_scalar::<f32>().unwrap().is_nan());
}

#[test]
fn pixel_loss_is_the_mean_over_what_counts() {
    let (pred, patches) = (random((2, 9, 48), 1), random((2, 9, 48), 2));
    let loss = |weights: &Tensor| pixel_loss(&pred, &patches, weights, true, FP32).unwrap();
    let weights = patch_weights(2, 9);
    let doubled = (&weights * 2.0).unwrap();
    assert_near("doubled weights", &loss(&doubled), &loss(&weights), within(1e-7, 0.0));
}
