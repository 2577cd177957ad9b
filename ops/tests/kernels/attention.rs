//! Multi-head attention.

use candle_core::Tensor;
use longmae_ops::{attention, reference};

use super::common::{BF16, Draw, FP32, Tolerance, assert_all_near, oracle, random, run, within};

const EXACT: Tolerance = within(1e-6, 1e-6);
const ROUNDED: Tolerance = within(4e-3, 4e-3);

fn check(what: &str, qkv: Tensor, heads: usize, exact: Tolerance, rounded: Tolerance) {
    let inputs = [qkv];
    let expected = oracle(Draw::Full, &inputs, |x| reference::attention(&x[0], heads));
    for (compute, tolerance) in [(FP32, exact), (BF16, rounded)] {
        let found = run(Draw::Full, &inputs, |x| attention(&x[0], heads, compute)).unwrap();
        let what = format!("attention {what} {}", compute.precision);
        assert_all_near(&what, &found, &expected, tolerance);
    }
}

#[test]
fn ragged_sizes() {
    for tokens in [1, 2, 3, 17, 33, 50, 100, 197] {
        for width in [1, 2, 3, 8, 16, 31, 32, 64] {
            for heads in [1, 3] {
                let qkv = random((2, tokens, 3 * heads * width), 1);
                let what = format!("of {tokens} tokens, {heads} heads of {width}");
                check(&what, qkv, heads, EXACT, ROUNDED);
            }
        }
    }
}

#[test]
fn more_tokens_than_are_taken_at_once() {
    for tokens in [193, 300, 1100] {
        let what = format!("of {tokens} tokens");
        check(&what, random((1, tokens, 3 * 16), 2), 1, EXACT, ROUNDED);
    }
}

#[test]
fn peaked_scores_do_not_overflow() {
    // Scores of some hundreds: what they are rounded by shows in the exponents.
    let qkv = (Draw::Rounded.tensor((2, 40, 3 * 2 * 16), 3) * 8.0).unwrap();
    check("with large scores", qkv, 2, within(1e-4, 0.0), within(1.5e-2, 0.0));
}
