//! Linear layers and matrix products.

use candle_core::Tensor;
use longmae_ops::{Compute, linear, matmul, reference};

use super::common::{BF16, Draw, FP32, Tolerance, assert_all_near, oracle, run, within};

/// Around the sizes of tiles and panels, and of bf16 pairs.
const SIZES: [usize; 14] = [1, 2, 3, 5, 11, 12, 13, 31, 32, 33, 47, 64, 65, 100];

/// Sums of f32 products, in whatever order.
const EXACT: Tolerance = within(1e-6, 1e-6);
/// Operands rounded to 8 bits; where terms cancel, the error is that of the terms.
fn rounded(sizes: [usize; 3]) -> Tolerance {
    let terms = sizes.into_iter().max().unwrap_or(1);
    within(4e-3, 4e-3 * (terms as f64).sqrt())
}

fn check(draw: Draw, sizes: [usize; 3], cases: &[(Compute, Tolerance)]) {
    let [rows, inner, outer] = sizes;
    let inputs =
        [draw.tensor((rows, inner), 1), draw.tensor((outer, inner), 2), draw.tensor(outer, 3)];
    let expected = oracle(draw, &inputs, |x| reference::linear(&x[0], &x[1], Some(&x[2])));
    for (compute, tolerance) in cases {
        let found = run(draw, &inputs, |x| linear(&x[0], &x[1], Some(&x[2]), *compute)).unwrap();
        let what = format!("linear {sizes:?} {} {draw:?}", compute.precision);
        assert_all_near(&what, &found, &expected, *tolerance);
    }
}

fn all_sizes() -> impl Iterator<Item = [usize; 3]> {
    SIZES.into_iter().flat_map(|rows| {
        SIZES.into_iter().flat_map(move |inner| SIZES.map(|outer| [rows, inner, outer]))
    })
}

#[test]
fn linear_on_ragged_sizes() {
    for sizes in all_sizes() {
        check(Draw::Full, sizes, &[(FP32, EXACT), (BF16, rounded(sizes))]);
    }
}

#[test]
fn bf16_rounds_operands_and_nothing_else() {
    for sizes in all_sizes() {
        check(Draw::Rounded, sizes, &[(BF16, EXACT)]);
    }
}

#[test]
fn linear_on_sizes_that_are_cut_up() {
    for sizes in [[300, 33, 40], [5, 6200, 33], [13, 12_400, 3], [400, 7, 1]] {
        check(Draw::Full, sizes, &[(FP32, within(2e-6, 2e-6)), (BF16, rounded(sizes))]);
        check(Draw::Rounded, sizes, &[(BF16, within(2e-6, 2e-6))]);
    }
}

/// Where there are many columns, some loops pack the rows beforehand.
#[test]
fn linear_on_many_columns() {
    for rows in [11, 12, 13, 25, 100] {
        for inner in [1, 15, 16, 17, 33] {
            for outer in [256, 300] {
                let sizes = [rows, inner, outer];
                check(Draw::Full, sizes, &[(FP32, EXACT), (BF16, rounded(sizes))]);
            }
        }
    }
    // Deeper than a run of the inner dimension; more rows than are packed at once.
    for sizes in [[13, 6200, 257], [700, 6200, 256]] {
        check(Draw::Full, sizes, &[(FP32, within(2e-6, 2e-6))]);
    }
}

#[test]
fn matmul_on_ragged_sizes() {
    let plain = |x: &[Tensor]| x[0].broadcast_matmul(&x[1]);
    for sizes in all_sizes().step_by(5) {
        let [rows, inner, outer] = sizes;
        for draw in [Draw::Full, Draw::Rounded] {
            let inputs = [draw.tensor((2, rows, inner), 4), draw.tensor((inner, outer), 5)];
            let expected = oracle(draw, &inputs, plain);
            for compute in [FP32, BF16] {
                let found = run(draw, &inputs, |x| matmul(&x[0], &x[1], compute)).unwrap();
                let what = format!("matmul {sizes:?} {} {draw:?}", compute.precision);
                let rounds = (draw, compute) == (Draw::Full, BF16);
                let tolerance = if rounds { rounded(sizes) } else { EXACT };
                assert_all_near(&what, &found, &expected, tolerance);
            }
        }
    }
}

#[test]
fn leading_dimensions_are_kept() {
    let inputs = [Draw::Full.tensor((2, 3, 4, 5), 1), Draw::Full.tensor((7, 5), 2)];
    let expected = oracle(Draw::Full, &inputs, |x| reference::linear(&x[0], &x[1], None));
    let found = run(Draw::Full, &inputs, |x| linear(&x[0], &x[1], None, FP32)).unwrap();
    assert_eq!(found[0].dims(), [2, 3, 4, 7]);
    assert_all_near("linear without bias", &found, &expected, EXACT);
}
