//! What a block allocates: nothing of the size of all scores, and little where little is to be kept.

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use candle_core::{Tensor, Var};
use common::block::Sizes;
use common::{BF16, Draw, FP32, weighed};
use longmae_ops::{Compute, backward, inference, transformer_block};

struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static LARGEST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: the system's allocator does the work.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size(), Relaxed);
        LARGEST.fetch_max(layout.size(), Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, address: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(address, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const TOKENS: usize = 2000;
const SIZES: Sizes =
    Sizes { batch: 1, tokens: TOKENS, dim: 64, hidden: 128, heads: 1, key_bias: true };

fn variables(tensors: &[Tensor]) -> Vec<Tensor> {
    tensors.iter().map(|x| Var::from_tensor(x).unwrap().into_inner()).collect()
}

/// Bytes that an output keeps alive beside itself and the input.
fn kept(x: &Tensor, weights: &[Tensor], compute: Compute) -> (Tensor, usize) {
    let weights = SIZES.weights(weights);
    let before = LIVE.load(Relaxed);
    let out = transformer_block(x, &weights, None, compute).unwrap();
    let out_bytes = out.elem_count() * 4;
    let kept = LIVE.load(Relaxed).saturating_sub(before + out_bytes);
    (out, kept)
}

/// One test alone, since others would count too; on one thread, since each has room for packed panels.
#[test]
fn memory_is_what_it_should_be() {
    rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap().install(check);
}

fn check() {
    let (x, weights) = (variables(&[SIZES.x()]).remove(0), variables(&SIZES.tensors()));
    let run = |compute: Compute| {
        let (out, kept) = kept(&x, &weights, compute);
        backward(&weighed(Draw::Full, &out).unwrap()).unwrap();
        kept
    };
    // The thread's room comes first, and stays.
    let _ = [FP32, BF16].map(run);
    LARGEST.store(0, Relaxed);
    let [fp32, bf16] = [FP32, BF16].map(run);
    let largest = LARGEST.load(Relaxed);
    // Half of all scores in bf16, the least that they could be; the block's widest layer is smaller.
    assert!(largest < TOKENS * TOKENS, "{largest} bytes at once");
    assert!(bf16 * 3 < fp32 * 2, "bf16 keeps {bf16} bytes, fp32 {fp32}");
    let recomputing = run(Compute { grad_checkpoint: true, ..FP32 });
    let (_, inferring) = inference(|| kept(&x, &weights, FP32));
    for (what, kept) in [("recomputing", recomputing), ("inference", inferring)] {
        assert!(kept < TOKENS * 4, "{what} keeps {kept} bytes");
    }
}
