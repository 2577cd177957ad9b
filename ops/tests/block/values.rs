//! Output and gradients against the block composed of plain operations.

use candle_core::{Result, Tensor};
use longmae_ops::{Compute, transformer_block};

use super::common::block::{LARGE, SMALL, Scales, Sizes, plain};
use super::common::{
    BF16, Draw, FP32, assert_all_near, assert_near, numbers, oracle, random, run, within,
};

/// What a test puts around the block: tokens and weights in, tokens out.
type Around = fn(Sizes, &[Tensor], &dyn Fn(&Tensor) -> Result<Tensor>) -> Result<Tensor>;

fn once(_: Sizes, x: &[Tensor], block: &dyn Fn(&Tensor) -> Result<Tensor>) -> Result<Tensor> {
    block(&x[0])
}

fn inputs(sizes: Sizes) -> Vec<Tensor> {
    [vec![sizes.x()], sizes.tensors()].concat()
}

fn fused(
    sizes: Sizes,
    scales: Option<&Scales>,
    around: Around,
    compute: Compute,
) -> Result<Vec<Tensor>> {
    let found = run(Draw::Full, &inputs(sizes), |x| {
        let weights = sizes.weights(&x[1..]);
        around(sizes, x, &|x| transformer_block(x, &weights, scales.cloned(), compute))
    });
    Ok(without_key_bias(sizes, found?))
}

fn expected(sizes: Sizes, scales: Option<&Scales>, around: Around) -> Vec<Tensor> {
    let all = oracle(Draw::Full, &inputs(sizes), |x| {
        let weights = sizes.weights(&x[1..]);
        around(sizes, x, &|x| plain(x, &weights, scales))
    });
    without_key_bias(sizes, all)
}

/// Takes the keys' part out of the bias's gradient: it is zero but for rounding.
fn without_key_bias(sizes: Sizes, mut all: Vec<Tensor>) -> Vec<Tensor> {
    if sizes.key_bias {
        let bias = all.pop().unwrap();
        let part = |which: usize| bias.narrow(0, which * sizes.dim, sizes.dim).unwrap();
        let [query, key, value] = [part(0), part(1), part(2)];
        let largest = |x: &Tensor| numbers(x).into_iter().fold(0.0_f64, |a, x| a.max(x.abs()));
        assert!(largest(&key) <= 0.05 * largest(&value), "a gradient of the keys' bias");
        all.extend([query, value]);
    }
    all
}

/// Each size with and without a bias of keys and drop path.
fn every_case() -> impl Iterator<Item = (String, Sizes, Option<Scales>)> {
    let one = Sizes { batch: 1, tokens: 1, dim: 5, hidden: 3, heads: 1, key_bias: true };
    let sizes = [one, SMALL, LARGE].into_iter().flat_map(|s| [s, s.without_key_bias()]);
    sizes.flat_map(|sizes| {
        [None, Some(sizes.scales())]
            .map(|scales| (format!("{sizes:?}, drop path {}", scales.is_some()), sizes, scales))
    })
}

#[test]
fn fp32_is_the_plain_block() {
    for (what, sizes, scales) in every_case() {
        let expected = expected(sizes, scales.as_ref(), once);
        let found = fused(sizes, scales.as_ref(), once, FP32).unwrap();
        assert_all_near(&what, &found, &expected, within(2e-6, 1e-6));
    }
}

#[test]
fn bf16_points_the_same_way() {
    for (what, sizes, scales) in every_case().filter(|(_, sizes, _)| sizes.tokens > 1) {
        let expected = fused(sizes, scales.as_ref(), once, FP32).unwrap();
        let found = fused(sizes, scales.as_ref(), once, BF16).unwrap();
        assert_near(&what, &found[0], &expected[0], within(1e-2, 0.0));
        for (part, (found, expected)) in found.iter().zip(&expected).enumerate() {
            let cosine = cosine(&numbers(found), &numbers(expected));
            assert!(cosine > 0.999, "{what}, part {part}: cosine {cosine}");
        }
    }
}

fn cosine(a: &[f64], b: &[f64]) -> f64 {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

#[test]
fn drop_path_drops_a_branch() {
    let sizes = SMALL;
    let weights = sizes.weights(&sizes.tensors());
    let x = sizes.x();
    let none = [vec![0.0; sizes.batch], vec![0.0; sizes.batch]];
    let out = transformer_block(&x, &weights, Some(none), FP32).unwrap();
    assert_eq!(numbers(&out), numbers(&x));
}

#[test]
fn shared_weights_get_the_sum() {
    let twice: Around = |_, x, block| block(&block(&x[0])?);
    for sizes in [SMALL, SMALL.without_key_bias()] {
        let scales = Some(sizes.scales());
        let expected = expected(sizes, scales.as_ref(), twice);
        let found = fused(sizes, scales.as_ref(), twice, FP32).unwrap();
        assert_all_near("two blocks of one weight", &found, &expected, within(2e-6, 1e-6));
    }
}

#[test]
fn weights_used_outside_get_the_sum() {
    // In front of the block, behind it, and beside it.
    let around: Around = |_, x, block| {
        let out = block(&x[0].broadcast_mul(&x[1])?)?;
        out.broadcast_matmul(&x[6])?.broadcast_add(&x[11].sqr()?.sum_all()?)
    };
    for sizes in [SMALL, SMALL.without_key_bias()] {
        let expected = expected(sizes, None, around);
        let found = fused(sizes, None, around, FP32).unwrap();
        assert_all_near("weights used outside", &found, &expected, within(2e-6, 1e-6));
    }
}

#[test]
fn tokens_may_be_a_view() {
    let turned: Around = |_, x, block| {
        let x = x[0].transpose(0, 1)?.contiguous()?.transpose(0, 1)?;
        block(&x)?.transpose(1, 2)
    };
    let found = fused(SMALL, None, turned, FP32).unwrap();
    assert_all_near("views", &found, &expected(SMALL, None, turned), within(2e-6, 1e-6));
}

#[test]
fn a_nan_stays_in_its_sample() {
    let x = random((1, SMALL.tokens, SMALL.dim), 1);
    let x = Tensor::cat(&[&x, &(&x * f64::NAN).unwrap(), &x], 0).unwrap();
    let weights = SMALL.weights(&SMALL.tensors());
    for compute in [FP32, BF16] {
        let out = transformer_block(&x, &weights, None, compute).unwrap();
        for (sample, is_nan) in [(0, false), (1, true), (2, false)] {
            let out = numbers(&out.get(sample).unwrap());
            assert!(out.iter().all(|x| x.is_nan() == is_nan), "sample {sample}");
        }
    }
}
