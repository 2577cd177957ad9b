//! Numbers do not depend on how many threads compute them.

use std::hash::{DefaultHasher, Hash, Hasher};

use longmae_ops::{BlockWeights, Compute, GridAttention, transformer_block};

use super::common::block::Sizes;
use super::common::child::rerun;
use super::common::{BF16, Draw, FP32, bits, random, run};

/// Enough rows and columns to be shared out.
const SIZES: Sizes =
    Sizes { batch: 3, tokens: 131, dim: 96, hidden: 200, heads: 3, key_bias: true };
const MARK: &str = "hashes:";

fn hash(compute: Compute) -> u64 {
    let inputs = [vec![SIZES.x()], SIZES.tensors()].concat();
    let tables = [random((27, 32), 1), random((27, 32), 2)];
    let windows =
        GridAttention { grid: (1, SIZES.tokens), window: Some(14), rel_pos: Some(tables) };
    let mut hasher = DefaultHasher::new();
    for grid in [None, Some(windows)] {
        let found = run(Draw::Full, &inputs, |x| {
            let weights = BlockWeights { grid: grid.clone(), ..SIZES.weights(&x[1..]) };
            transformer_block(&x[0], &weights, Some(SIZES.scales()), compute)
        });
        found.unwrap().iter().for_each(|tensor| bits(tensor).hash(&mut hasher));
    }
    hasher.finish()
}

/// What `threads_change_nothing` compares; on its own it tests nothing.
#[test]
#[ignore = "a part of another test"]
#[allow(clippy::print_stdout, reason = "the result for the test that runs this one")]
fn print_hashes() {
    println!("{MARK} {:x} {:x} {}", hash(FP32), hash(BF16), rayon::current_num_threads());
}

#[test]
fn threads_change_nothing() {
    let hashes = ["1", "2", "3"].map(|threads| {
        let args = ["threads::print_hashes", "--exact", "--ignored", "--nocapture"];
        let isa = std::env::var(longmae_ops::ISA_VARIABLE).ok();
        let isa = isa.iter().map(|isa| (longmae_ops::ISA_VARIABLE, isa.as_str()));
        let variables: Vec<_> = isa.chain([("RAYON_NUM_THREADS", threads)]).collect();
        let text = rerun(&args, &variables);
        let (_, rest) = text.split_once(MARK).unwrap();
        let words: Vec<String> = rest.split_whitespace().take(3).map(str::to_owned).collect();
        assert_eq!(words[2], threads);
        words[..2].to_vec()
    });
    assert_eq!(hashes[0], hashes[1]);
    assert_eq!(hashes[0], hashes[2]);
}
