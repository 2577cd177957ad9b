//! NaN, infinities and denormal numbers: they must come out where the plain operations give them, and nowhere else.

use candle_core::{DType, Device, Result, Tensor};
use longmae_ops::{
    Compute, attention, gather_tokens, gelu, layer_norm, linear, pixel_loss, prepend_class,
    reference, restore_tokens,
};

use super::common::{BF16, Draw, FP32, ids, numbers, run};

const SPECIAL: [f32; 7] = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e-40, -1e-40, 0.0, -0.0];
/// Below this, numbers may be flushed to zero.
const FLUSHED: f64 = 1e-30;

/// Puts special values into each input, here and there.
fn check(
    what: &str,
    inputs: &[Tensor],
    tolerance: f64,
    fused: impl Fn(&[Tensor]) -> Result<Tensor>,
    plain: impl Fn(&[Tensor]) -> Result<Tensor>,
) {
    for (which, input) in inputs.iter().enumerate() {
        let len = input.elem_count();
        for (place, value) in [0, len / 2, len - 1].iter().flat_map(|p| SPECIAL.map(|v| (*p, v))) {
            let mut inputs = inputs.to_vec();
            inputs[which] = with(input, place, value);
            let found = run(Draw::Rounded, &inputs, &fused).unwrap();
            let expected = run(Draw::Rounded, &inputs, &plain).unwrap();
            for (part, (found, expected)) in found.iter().zip(&expected).enumerate() {
                let what = format!("{what}, {value} at {place} of input {which}, part {part}");
                assert_same_kinds(&what, found, expected, tolerance, part > 0);
            }
        }
    }
}

fn with(tensor: &Tensor, place: usize, value: f32) -> Tensor {
    let mut values: Vec<f32> = tensor.flatten_all().unwrap().to_vec1().unwrap();
    values[place] = value;
    Tensor::from_vec(values, tensor.shape(), &Device::Cpu).unwrap()
}

fn assert_same_kinds(
    what: &str,
    found: &Tensor,
    expected: &Tensor,
    tolerance: f64,
    gradient: bool,
) {
    let (found, expected) = (numbers(found), numbers(expected));
    assert_eq!(found.len(), expected.len(), "{what}: length");
    let finite = expected.iter().filter(|x| x.is_finite());
    let size = finite.fold(0.0_f64, |size, x| size.max(x.abs()));
    // Whether infinite terms of a gradient meet, and make NaN, depends on how its formula is written.
    let alike = |found: f64| gradient && !found.is_finite();
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        let same = if expected.is_finite() {
            (found - expected).abs() <= tolerance * size + FLUSHED
        } else {
            alike(*found) || found.is_nan() && expected.is_nan() || *found == expected
        };
        assert!(same, "{what}, number {i}: {found} instead of {expected}");
    }
}

fn rounded(shape: impl Into<candle_core::Shape>, seed: u64) -> Tensor {
    Draw::Rounded.tensor(shape, seed)
}

#[test]
fn linear_keeps_them_in_their_rows() {
    for [rows, inner, outer] in [[1, 1, 1], [5, 3, 2], [14, 33, 34], [33, 65, 3]] {
        let inputs = [rounded((rows, inner), 1), rounded((outer, inner), 2), rounded(outer, 3)];
        for compute in [FP32, BF16] {
            let what = format!("linear {rows} {inner} {outer} {}", compute.precision);
            let fused = |x: &[Tensor]| linear(&x[0], &x[1], Some(&x[2]), compute);
            let plain = |x: &[Tensor]| reference::linear(&x[0], &x[1], Some(&x[2]));
            check(&what, &inputs, 1e-5, fused, plain);
        }
    }
}

#[test]
fn linear_keeps_denormal_numbers_in_f32() {
    let (x, weight) = ((rounded((5, 7), 1) * 1e-40).unwrap(), rounded((3, 7), 2));
    let found = numbers(&linear(&x, &weight, None, FP32).unwrap());
    let [x, weight] = [x, weight].map(|x| x.to_dtype(DType::F64).unwrap());
    let expected = numbers(&reference::linear(&x, &weight, None).unwrap());
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() < 1e-43, "{found} instead of {expected}");
    }
}

#[test]
fn attention_keeps_them_in_their_heads() {
    for (tokens, heads, width) in [(1, 1, 1), (3, 2, 2), (17, 2, 5), (40, 1, 33)] {
        let inputs = [rounded((2, tokens, 3 * heads * width), 1)];
        for (compute, tolerance) in [(FP32, 1e-5), (BF16, 3e-2)] {
            let what = format!("attention {tokens} {heads} {width} {}", compute.precision);
            let fused = |x: &[Tensor]| attention(&x[0], heads, compute);
            check(&what, &inputs, tolerance, fused, |x| reference::attention(&x[0], heads));
        }
    }
}

#[test]
fn layer_norm_keeps_them_in_their_rows() {
    for (rows, width) in [(1, 2), (3, 3), (34, 17), (2, 40)] {
        let inputs = [rounded((rows, width), 1), rounded(width, 2), rounded(width, 3)];
        let fused = |x: &[Tensor]| layer_norm(&x[0], &x[1], &x[2], 1e-2, FP32);
        let plain = |x: &[Tensor]| reference::layer_norm(&x[0], &x[1], &x[2], 1e-2);
        check(&format!("norm {rows} {width}"), &inputs, 1e-5, fused, plain);
    }
}

#[test]
fn layer_norm_of_huge_and_tiny_rows_is_the_plain_one() {
    for factor in [1e-42, 1e-25, 1e15, 1e25, 1e35] {
        let inputs = [(rounded((3, 20), 1) * factor).unwrap(), rounded(20, 2), rounded(20, 3)];
        let found =
            run(Draw::Full, &inputs, |x| layer_norm(&x[0], &x[1], &x[2], 1e-6, FP32)).unwrap();
        let plain =
            run(Draw::Full, &inputs, |x| reference::layer_norm(&x[0], &x[1], &x[2], 1e-6)).unwrap();
        for (part, (found, plain)) in found.iter().zip(&plain).enumerate() {
            assert_same_kinds(
                &format!("norm x {factor}, part {part}"),
                found,
                plain,
                1e-5,
                part > 0,
            );
        }
    }
}

#[test]
fn gelu_has_its_limits_at_infinity() {
    let inf = f32::INFINITY;
    let x = [f32::NAN, inf, -inf, f32::MAX, f32::MIN, 1e-40, -1e-40, 0.0, -0.0, 50.0, -50.0];
    let values = [f64::NAN, inf.into(), 0.0, f32::MAX.into(), 0.0, 0.0, 0.0, 0.0, 0.0, 50.0, 0.0];
    let slopes = [f64::NAN, 1.0, 0.0, 1.0, 0.0, 0.5, 0.5, 0.5, 0.5, 1.0, 0.0];
    for compute in [FP32, BF16] {
        let found = run_unweighed(&Tensor::new(&x, &Device::Cpu).unwrap(), compute);
        for (found, expected) in found.iter().zip([values, slopes]) {
            let expected = Tensor::new(&expected, &Device::Cpu).unwrap();
            for (i, x) in x.iter().enumerate() {
                let [found, expected] = [found, &expected].map(|t| t.narrow(0, i, 1).unwrap());
                assert_same_kinds(&format!("gelu of {x}"), &found, &expected, 1e-7, false);
            }
        }
    }
}

/// GELU and its slope.
fn run_unweighed(x: &Tensor, compute: Compute) -> [Tensor; 2] {
    let x = candle_core::Var::from_tensor(x).unwrap();
    let out = gelu(&x, compute).unwrap();
    let gradients = longmae_ops::backward(&out.sum_all().unwrap()).unwrap();
    [out, gradients.get(&x).unwrap().clone()]
}

#[test]
fn tokens_keep_them_where_they_are() {
    let order = ids(&[vec![2, 0, 1, 3], vec![3, 2, 1, 0]]);
    let inputs = [rounded((2, 4, 3), 1)];
    let fused = |x: &[Tensor]| gather_tokens(&x[0], &order, FP32);
    check("gather", &inputs, 1e-6, fused, |x| reference::gather_tokens(&x[0], &order));

    let (inputs, positions) =
        ([rounded((2, 4, 3), 1), rounded((1, 1, 3), 2)], rounded((1, 5, 3), 3));
    let fused = |x: &[Tensor]| prepend_class(&x[0], &x[1], &positions, Some(&order), FP32);
    let plain = |x: &[Tensor]| reference::prepend_class(&x[0], &x[1], &positions, Some(&order));
    check("prepend", &inputs, 1e-6, fused, plain);

    let inputs = [rounded((2, 3, 3), 1), rounded((1, 1, 3), 2)];
    let fused = |x: &[Tensor]| restore_tokens(&x[0], &x[1], &order, Some(&positions), FP32);
    let plain = |x: &[Tensor]| reference::restore_tokens(&x[0], &x[1], &order, Some(&positions));
    check("restore", &inputs, 1e-6, fused, plain);
}

#[test]
fn pixel_loss_shows_them() {
    let weights = Tensor::new(&[[1.0_f32, 0.5, 1.0]], &Device::Cpu).unwrap();
    let inputs = [rounded((1, 3, 19), 1)];
    let patches = rounded((1, 3, 19), 2);
    for norm_pix in [false, true] {
        let fused = |x: &[Tensor]| pixel_loss(&x[0], &patches, &weights, norm_pix, FP32);
        let plain = |x: &[Tensor]| reference::pixel_loss(&x[0], &patches, &weights, norm_pix);
        check("loss", &inputs, 1e-5, fused, plain);
        for value in SPECIAL {
            let patches = with(&patches, 20, value);
            let fused = |x: &[Tensor]| pixel_loss(&x[0], &patches, &weights, norm_pix, FP32);
            let plain = |x: &[Tensor]| reference::pixel_loss(&x[0], &patches, &weights, norm_pix);
            check(&format!("loss of {value}"), &inputs, 1e-5, fused, plain);
        }
    }
}
