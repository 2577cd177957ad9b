//! Which of the block's arguments get a gradient, and from which backward pass.

use candle_core::backprop::GradStore;
use candle_core::{Tensor, Var};
use longmae_ops::{Compute, backward, transformer_block};

use super::common::block::SMALL;
use super::common::{BF16, Draw, FP32, assert_same_bits, weighed};

/// Tokens and weights, each of them a variable.
fn variables() -> Vec<Tensor> {
    let values = [vec![SMALL.x()], SMALL.tensors()].concat();
    values.iter().map(|x| Var::from_tensor(x).unwrap().into_inner()).collect()
}

fn loss(all: &[Tensor], compute: Compute) -> Tensor {
    let weights = SMALL.weights(&all[1..]);
    let out = transformer_block(&all[0], &weights, Some(SMALL.scales()), compute).unwrap();
    weighed(Draw::Full, &out).unwrap()
}

fn of(store: &GradStore, all: &[Tensor]) -> Vec<Tensor> {
    all.iter().map(|x| store.get(x).expect("a gradient").clone()).collect()
}

fn every_gradient(all: &[Tensor], compute: Compute) -> Vec<Tensor> {
    of(&backward(&loss(all, compute)).unwrap(), all)
}

#[test]
fn a_plain_backward_pass_is_an_error() {
    let all = variables();
    for compute in [FP32, BF16, Compute { grad_checkpoint: true, ..FP32 }] {
        let error = loss(&all, compute).backward().unwrap_err().to_string();
        assert!(error.contains("longmae_ops::backward"), "{error}");
    }
    // Nothing is left behind.
    every_gradient(&all, FP32);
}

#[test]
fn untracked_tokens_leave_the_weights_their_gradients() {
    let mut all = variables();
    let expected = every_gradient(&all, FP32);
    all[0] = all[0].detach();
    let store = backward(&loss(&all, FP32)).unwrap();
    assert_same_bits("weights", &of(&store, &all[1..]), &expected[1..]);
}

#[test]
fn frozen_weights_get_none_and_pass_the_tokens_theirs() {
    let mut all = variables();
    let expected = every_gradient(&all, FP32);
    for weight in &mut all[1..] {
        *weight = weight.detach();
    }
    let store = backward(&loss(&all, FP32)).unwrap();
    assert_same_bits("tokens", &of(&store, &all[..1]), &expected[..1]);
    assert!(all[1..].iter().all(|weight| store.get(weight).is_none()));
}

#[test]
fn each_weight_may_be_frozen_alone() {
    let all = variables();
    let expected = every_gradient(&all, FP32);
    for frozen in 1..all.len() {
        let mut some = all.clone();
        some[frozen] = some[frozen].detach();
        let store = backward(&loss(&some, FP32)).unwrap();
        for (i, tensor) in some.iter().enumerate() {
            let found = store.get(tensor).cloned();
            assert_eq!(found.is_none(), i == frozen, "gradient {i} without {frozen}");
            assert_same_bits("others", found.as_slice(), &expected[i..][..found.iter().len()]);
        }
    }
}

#[test]
fn nothing_tracked_needs_no_backward_pass() {
    let all: Vec<Tensor> = variables().iter().map(Tensor::detach).collect();
    assert!(!loss(&all, FP32).track_op());
}

#[test]
fn a_second_backward_pass_is_the_first() {
    let all = variables();
    for compute in [FP32, BF16] {
        let loss = loss(&all, compute);
        let [first, second, third] = [(); 3].map(|()| of(&backward(&loss).unwrap(), &all));
        assert_same_bits("second pass", &second, &first);
        assert_same_bits("third pass", &third, &first);
    }
}

#[test]
fn a_failed_backward_pass_leaves_nothing_behind() {
    let all = variables();
    let expected = every_gradient(&all, FP32);
    // candle has no gradient for stretching by a broken factor.
    let stretched = all[0].upsample_nearest1d(SMALL.dim + 1).unwrap();
    let bad = (loss(&all, FP32) + stretched.sum_all().unwrap()).unwrap();
    assert!(backward(&bad).is_err());
    assert_same_bits("after a failure", &every_gradient(&all, FP32), &expected);
}
