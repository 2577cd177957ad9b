//! Choosing, ordering and completing tokens: copies, so results are the plain ones bit for bit. And their means.

use candle_core::{Result, Tensor};
use longmae_ops::{gather_tokens, mean_tokens, prepend_class, reference, restore_tokens};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use super::common::{
    BF16, Draw, FP32, assert_all_near, assert_same_bits, ids, oracle, random, run, within,
};

const SIZES: [[usize; 3]; 7] =
    [[1, 1, 1], [1, 2, 3], [2, 5, 16], [3, 12, 17], [1, 49, 2], [2, 64, 33], [4, 30, 100]];

fn check(
    what: &str,
    inputs: &[Tensor],
    fused: impl Fn(&[Tensor]) -> Result<Tensor>,
    plain: impl Fn(&[Tensor]) -> Result<Tensor>,
) {
    let found = run(Draw::Full, inputs, fused).unwrap();
    let expected = run(Draw::Full, inputs, &plain).unwrap();
    assert_same_bits(what, &found[..1], &expected[..1]);
    assert_all_near(what, &found, &oracle(Draw::Full, inputs, &plain), within(1e-6, 0.0));
}

/// Ids of each sample, each id in any number.
fn choice(batch: usize, picked: usize, length: usize) -> Vec<Vec<u32>> {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let mut row = || (0..picked).map(|_| rng.random_range(0..length as u32)).collect();
    (0..batch).map(|_| row()).collect()
}

/// A permutation for each sample.
fn shuffled(batch: usize, length: usize) -> Vec<Vec<u32>> {
    let mut rng = ChaCha8Rng::seed_from_u64(6);
    let mut row = || {
        let mut row: Vec<u32> = (0..length as u32).collect();
        (1..length).for_each(|i| row.swap(i, rng.random_range(0..=i)));
        row
    };
    (0..batch).map(|_| row()).collect()
}

#[test]
fn gather_is_the_plain_one() {
    for [batch, length, dim] in SIZES {
        for picked in [1, length.div_ceil(2), length + 3] {
            let ids = ids(&choice(batch, picked, length));
            let plain = |x: &[Tensor]| reference::gather_tokens(&x[0], &ids);
            for compute in [FP32, BF16] {
                let fused = |x: &[Tensor]| gather_tokens(&x[0], &ids, compute);
                let what = format!("{picked} of {batch} x {length} x {dim}");
                check(&what, &[random((batch, length, dim), 1)], fused, plain);
            }
        }
    }
}

#[test]
fn prepend_is_the_plain_one() {
    for [batch, length, dim] in SIZES {
        let positions = random((1, 1 + length, dim), 3);
        let half = length.div_ceil(2);
        for (kept, ids) in [(length, None), (half, Some(ids(&choice(batch, half, length))))] {
            let plain = |x: &[Tensor]| {
                let positions = positions.to_dtype(x[0].dtype())?;
                reference::prepend_class(&x[0], &x[1], &positions, ids.as_ref())
            };
            let fused = |x: &[Tensor]| prepend_class(&x[0], &x[1], &positions, ids.as_ref(), FP32);
            let inputs = [random((batch, kept, dim), 1), random((1, 1, dim), 2)];
            let what = format!("class before {kept} of {batch} x {length} x {dim}");
            check(&what, &inputs, fused, plain);
        }
    }
}

#[test]
fn restore_is_the_plain_one() {
    for [batch, length, dim] in SIZES {
        for kept in [0, length / 2, length] {
            for positions in [None, Some(random((1, 1 + length, dim), 3))] {
                let what = format!("restore {kept} of {batch} x {length} x {dim}");
                one_restore(&what, [batch, length, dim], kept, positions.as_ref());
            }
        }
    }
}

fn one_restore(
    what: &str,
    [batch, length, dim]: [usize; 3],
    kept: usize,
    positions: Option<&Tensor>,
) {
    let order = ids(&shuffled(batch, length));
    let plain = |x: &[Tensor]| {
        let positions = positions.map(|p| p.to_dtype(x[0].dtype())).transpose()?;
        reference::restore_tokens(&x[0], &x[1], &order, positions.as_ref())
    };
    let fused = |x: &[Tensor]| restore_tokens(&x[0], &x[1], &order, positions, FP32);
    let inputs = [random((batch, 1 + kept, dim), 1), random((1, 1, dim), 2)];
    check(what, &inputs, fused, plain);
}

#[test]
fn trained_positions_of_the_decoder_get_a_gradient() {
    let order = ids(&shuffled(2, 6));
    let inputs = [random((2, 4, 5), 1), random((1, 1, 5), 2), random((1, 7, 5), 3)];
    let plain = |x: &[Tensor]| reference::restore_tokens(&x[0], &x[1], &order, Some(&x[2]));
    let fused = |x: &[Tensor]| restore_tokens(&x[0], &x[1], &order, Some(&x[2]), FP32);
    check("restore", &inputs, fused, plain);
}

#[test]
fn trained_positions_of_the_encoder_get_a_gradient() {
    for [batch, length, dim] in SIZES {
        let half = length.div_ceil(2);
        for (kept, ids) in [(length, None), (half, Some(ids(&choice(batch, half, length))))] {
            let inputs = [
                random((batch, kept, dim), 1),
                random((1, 1, dim), 2),
                random((1, 1 + length, dim), 3),
            ];
            let plain = |x: &[Tensor]| reference::prepend_class(&x[0], &x[1], &x[2], ids.as_ref());
            let fused = |x: &[Tensor]| prepend_class(&x[0], &x[1], &x[2], ids.as_ref(), FP32);
            check(&format!("prepend {kept} of {batch} x {length} x {dim}"), &inputs, fused, plain);
        }
    }
}

#[test]
fn means_are_the_plain_ones() {
    for [batch, length, dim] in SIZES {
        for (start, count) in
            [(0, 1), (length - 1, 1), (length / 2, length.div_ceil(2)), (0, length)]
        {
            let plain = |x: &[Tensor]| reference::mean_tokens(&x[0], start, count);
            let fused = |x: &[Tensor]| mean_tokens(&x[0], start, count, FP32);
            let what = format!("mean of {count} from {start} of {batch} x {length} x {dim}");
            let inputs = [random((batch, length, dim), 1)];
            let found = run(Draw::Full, &inputs, fused).unwrap();
            let expected = oracle(Draw::Full, &inputs, plain);
            assert_all_near(&what, &found, &expected, within(1e-6, 1e-6));
        }
    }
}

#[test]
fn means_of_tokens_that_are_not_there_are_refused() {
    let tokens = random((2, 3, 4), 1);
    for (start, count) in [(0, 0), (3, 1), (1, 3), (usize::MAX, 2)] {
        assert!(mean_tokens(&tokens, start, count, FP32).is_err(), "{start} {count}");
    }
}
