//! Recomputation and inference change what is kept, and not one bit of what comes out.

use candle_core::{Tensor, Var};
use longmae_ops::{Compute, inference, transformer_block};

use super::common::block::{LARGE, SMALL, Sizes};
use super::common::{BF16, Draw, FP32, assert_same_bits, run};

fn block(sizes: Sizes, compute: Compute) -> Vec<Tensor> {
    let inputs = [vec![sizes.x()], sizes.tensors()].concat();
    let found = run(Draw::Full, &inputs, |x| {
        let block = |tokens: &Tensor| {
            let weights = sizes.weights(&x[1..]);
            transformer_block(tokens, &weights, Some(sizes.scales()), compute)
        };
        block(&block(&x[0])?)
    });
    found.unwrap()
}

#[test]
fn recomputing_gives_the_same_bits() {
    for sizes in [SMALL, SMALL.without_key_bias(), LARGE] {
        for compute in [FP32, BF16] {
            let again = Compute { grad_checkpoint: true, ..compute };
            assert_same_bits("recomputed", &block(sizes, again), &block(sizes, compute));
        }
    }
}

#[test]
fn inference_gives_the_same_bits_untracked() {
    for compute in [FP32, BF16, Compute { grad_checkpoint: true, ..FP32 }] {
        let vars = SMALL.tensors().iter().map(Var::from_tensor).collect::<Result<Vec<_>, _>>();
        let tensors: Vec<Tensor> = vars.unwrap().iter().map(|v| v.as_tensor().clone()).collect();
        let weights = SMALL.weights(&tensors);
        let block = || transformer_block(&SMALL.x(), &weights, None, compute).unwrap();
        let tracked = block();
        let untracked = inference(block);
        assert!(tracked.track_op() && !untracked.track_op());
        assert!(block().track_op(), "inference goes on behind its end");
        assert_same_bits("inference", &[untracked], &[tracked]);
    }
}
