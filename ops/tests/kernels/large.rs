//! Products that are large enough for the ways that small ones do not take.

use candle_core::{DType, Device, Tensor};
use longmae_ops::{linear, reference};

use super::common::{Draw, FP32, bits, numbers, oracle, random, run};

/// Rows, inner dimension, columns: whole tiles and ragged ones, one run of the inner dimension and several, few rows and
/// many.
const SIZES: [[usize; 3]; 6] = [
    [128, 128, 128],
    [130, 129, 131],
    [143, 800, 257],
    [257, 1601, 160],
    [1100, 131, 200],
    [160, 3072, 352],
];

/// Whether each number is within 2^-21 of the sum of its terms' absolute values. A number that lost its last eight bits on
/// the way would not be, at 128 terms.
#[test]
fn are_as_close_to_the_exact_ones_as_f32_is() {
    for size @ [rows, inner, cols] in SIZES {
        let inputs = [random((rows, inner), 1), random((cols, inner), 2)];
        let sizes = inputs.each_ref().map(|x| x.abs().unwrap());
        let product = |x: &[Tensor]| linear(&x[0], &x[1], None, FP32);
        let plain = |x: &[Tensor]| reference::linear(&x[0], &x[1], None);
        let found = run(Draw::Full, &inputs, product).unwrap();
        let exact = oracle(Draw::Full, &inputs, plain);
        // The loss's weights have signs too.
        let weights = Draw::Full.tensor((rows, cols), 99).abs().unwrap();
        let terms = [
            sizes[0].matmul(&sizes[1].t().unwrap()).unwrap(),
            weights.matmul(&sizes[1]).unwrap(),
            weights.t().unwrap().matmul(&sizes[0]).unwrap(),
        ];
        for (part, ((found, exact), terms)) in found.iter().zip(&exact).zip(&terms).enumerate() {
            let all = numbers(found).into_iter().zip(numbers(exact)).zip(numbers(terms));
            let worst = all.map(|((x, y), z)| (x - y).abs() / z).fold(0.0, f64::max);
            assert!(worst < 2.0_f64.powi(-21), "{size:?}, part {part}: {worst:e}");
        }
    }
}

/// Rows with a single number, a power of two, pick out what the other side holds: every bit of it.
#[test]
fn keep_every_bit_of_both_sides() {
    for [rows, inner, cols] in SIZES {
        let all = random((cols, inner), 3);
        let pick: Vec<f32> = (0..rows * inner)
            .map(|i| if i % inner == i / inner * 7 % inner { -0.25 } else { 0.0 })
            .collect();
        let pick = Tensor::from_vec(pick, (rows, inner), &Device::Cpu).unwrap();
        let expected = reference::linear(&wide(&pick), &wide(&all), None).unwrap();
        let found = linear(&pick, &all, None, FP32).unwrap();
        assert_eq!(numbers(&found), numbers(&expected), "right, {rows} {inner} {cols}");
        let found = linear(&all, &pick, None, FP32).unwrap();
        assert_eq!(numbers(&found), numbers(&expected.t().unwrap()), "left, {rows} {inner} {cols}");
    }
}

/// What a row gives does not depend on how many others there are.
#[test]
fn rows_do_not_depend_on_each_other() {
    for [rows, inner, cols] in SIZES {
        let (x, weight) = (random((rows, inner), 6), random((cols, inner), 7));
        let all = linear(&x, &weight, None, FP32).unwrap();
        for (first, count) in [(0, 1), (rows - 1, 1), (3, 17), (32, 64), (1, rows - 1)] {
            let some = linear(&x.narrow(0, first, count).unwrap(), &weight, None, FP32).unwrap();
            let expected = all.narrow(0, first, count).unwrap();
            assert_eq!(bits(&some), bits(&expected), "{count} of {rows} x {inner}, {cols}");
        }
    }
}

fn wide(x: &Tensor) -> Tensor {
    x.to_dtype(DType::F64).unwrap()
}

/// What is not finite makes its own row or column not finite, and no other number; which of infinity and NaN it is depends
/// on the way.
#[test]
fn keep_what_is_not_finite_in_its_place() {
    for [rows, inner, cols] in SIZES {
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for (row, col) in [(0, inner - 1), (rows - 1, 0)] {
                let mut x: Vec<f32> =
                    random((rows, inner), 4).flatten_all().unwrap().to_vec1().unwrap();
                x[row * inner + col] = value;
                let x = Tensor::from_vec(x, (rows, inner), &Device::Cpu).unwrap();
                let weight = random((cols, inner), 5);
                for (i, found) in
                    numbers(&linear(&x, &weight, None, FP32).unwrap()).iter().enumerate()
                {
                    assert_eq!(
                        found.is_finite(),
                        i / cols != row,
                        "{value} in row {row}, {i}: {found}"
                    );
                }
                for (i, found) in
                    numbers(&linear(&weight, &x, None, FP32).unwrap()).iter().enumerate()
                {
                    assert_eq!(
                        found.is_finite(),
                        i % rows != row,
                        "{value} in column {row}, {i}: {found}"
                    );
                }
            }
        }
    }
}
