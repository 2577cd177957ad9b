//! Attention against the plain one in f64, in both types and at every width of tile.

use candle_core::{D, DType, Device, IndexOp, Tensor};
use half::bf16;
use longmae_ops::reference;

use crate::buffer::{Buffer, Number};
use crate::common::{Draw, Tolerance, assert_all_near, assert_near, oracle, within};
use crate::emulator::Emulator;
use crate::orders::on_kernels;

const EXACT: Tolerance = within(2e-6, 1e-6);
const ROUNDED: Tolerance = within(4e-3, 4e-3);

#[derive(Debug, Clone, Copy)]
struct Sizes {
    batch: usize,
    tokens: usize,
    heads: usize,
    width: usize,
}

impl Sizes {
    /// The smallest tile that holds a head.
    fn tile(&self) -> usize {
        *[32, 64, 96, 128].iter().find(|tile| **tile >= self.width).unwrap()
    }

    fn blocks(&self, tokens: usize) -> [usize; 3] {
        [self.tokens.div_ceil(tokens), self.heads, self.batch]
    }
}

/// A type of numbers that attention is there for, and how many tokens a block has at tiles up to 64 and beyond.
trait Attend: Number {
    const SUFFIX: &'static str;
    const THREADS: u32;
    const QUERIES: [usize; 2];
    const BACKWARD: [usize; 2];
}

impl Attend for f32 {
    const SUFFIX: &'static str = "f32";
    const THREADS: u32 = 256;
    const QUERIES: [usize; 2] = [64, 32];
    const BACKWARD: [usize; 2] = [32, 16];
}

impl Attend for bf16 {
    const SUFFIX: &'static str = "bf16";
    const THREADS: u32 = 128;
    const QUERIES: [usize; 2] = [128, 64];
    const BACKWARD: [usize; 2] = [64, 64];
}

/// Result, gradient, log-sums.
fn attend<T: Attend>(e: &Emulator, sizes: Sizes, qkv: &Tensor, dout: &Tensor) -> Vec<Tensor> {
    let Sizes { batch, tokens, heads, width } = sizes;
    let (rows, dim, tile, suffix) = (batch * tokens, heads * width, sizes.tile(), T::SUFFIX);
    let wide = usize::from(tile > 64);
    let (qkv, dout) = (Buffer::<T>::from(qkv), Buffer::<T>::from(dout));
    let (out, slopes) = (Buffer::<T>::unset(rows * dim), Buffer::<T>::unset(rows * 3 * dim));
    let (log_sums, delta) =
        (Buffer::<f32>::unset(rows * heads), Buffer::<f32>::unset(rows * heads));
    let scale = 1.0 / (width as f32).sqrt();
    let (b, t, h, w) = (batch as i32, tokens as i32, heads as i32, width as i32);

    let arguments = (qkv.pointer(), out.pointer(), log_sums.pointer(), b, t, h, w, scale);
    let name = format!("attention_forward_w{tile}_{suffix}");
    e.launch(&name, sizes.blocks(T::QUERIES[wide]), T::THREADS, arguments);

    let arguments = (out.pointer(), dout.pointer(), delta.pointer(), rows as i32, h, w, t);
    let grid = [(rows * heads).div_ceil(16), 1, 1];
    e.launch(&format!("attention_delta_{suffix}"), grid, 256, arguments);

    let [qkv, dout, slope] = [qkv.pointer(), dout.pointer(), slopes.pointer()];
    for part in ["kv", "q"] {
        let name = format!("attention_backward_{part}_w{tile}_{suffix}");
        let arguments = (qkv, dout, log_sums.pointer(), delta.pointer(), slope, b, t, h, w, scale);
        e.launch(&name, sizes.blocks(T::BACKWARD[wide]), T::THREADS, arguments);
    }
    vec![
        out.tensor((batch, tokens, dim)),
        slopes.tensor((batch, tokens, 3 * dim)),
        log_sums.tensor((batch, heads, tokens)),
    ]
}

/// `[batch, heads, tokens]`, in f64.
fn log_sums(qkv: &Tensor, Sizes { batch, tokens, heads, width }: Sizes) -> Tensor {
    let qkv = qkv.to_dtype(DType::F64).unwrap();
    let qkv = qkv.reshape((batch, tokens, 3, heads, width)).unwrap();
    let part = |i| qkv.i((.., .., i)).unwrap().transpose(1, 2).unwrap().contiguous().unwrap();
    let scores = part(0).matmul(&part(1).t().unwrap()).unwrap();
    (scores / (width as f64).sqrt()).unwrap().log_sum_exp(D::Minus1).unwrap()
}

/// Runs both types; false where there is no compiler.
fn check(sizes: Sizes, qkv: &Tensor, exact: Tolerance, rounded: Tolerance) -> bool {
    let Sizes { batch, tokens, heads, width } = sizes;
    let dout = Draw::Rounded.tensor((batch, tokens, heads * width), 99);
    let inputs = [qkv.clone()];
    let mut expected = oracle(Draw::Rounded, &inputs, |x| reference::attention(&x[0], heads));
    expected.push(log_sums(qkv, sizes));
    let Some(found) = on_kernels(|e| attend::<f32>(e, sizes, qkv, &dout)) else { return false };
    assert_all_near(&format!("{sizes:?} in f32"), &found, &expected, exact);
    let found = on_kernels(|e| attend::<bf16>(e, sizes, qkv, &dout)).unwrap();
    assert_all_near(&format!("{sizes:?} in bf16"), &found[..2], &expected[..2], rounded);
    // Products of bf16 are exact, and so a key too many would show here first.
    assert_near(&format!("log-sums of {sizes:?} in bf16"), &found[2], &expected[2], exact);
    true
}

fn random_qkv(Sizes { batch, tokens, heads, width }: Sizes) -> Tensor {
    Draw::Rounded.tensor((batch, tokens, 3 * heads * width), 1)
}

/// All widths, with as many samples and heads as show whether the places are right.
fn at(tokens: usize, batch: usize, heads: usize) {
    for width in [8, 32, 64, 80, 128] {
        let sizes = Sizes { batch, tokens, heads, width };
        if !check(sizes, &random_qkv(sizes), EXACT, ROUNDED) {
            return;
        }
    }
}

#[test]
fn one_token() {
    at(1, 2, 3);
}

#[test]
fn fewer_tokens_than_a_warp_has_rows() {
    at(5, 3, 2);
}

#[test]
fn one_token_less_than_a_block() {
    at(63, 1, 1);
}

#[test]
fn a_whole_block() {
    at(64, 1, 2);
}

#[test]
fn one_token_more_than_a_block() {
    at(65, 2, 1);
}

#[test]
fn several_blocks() {
    at(197, 1, 1);
}

#[test]
fn peaked_scores_do_not_overflow() {
    // Scores of some hundreds: what they are rounded by shows in the exponents.
    let sizes = Sizes { batch: 1, tokens: 70, heads: 2, width: 16 };
    let qkv = (random_qkv(sizes) * 8.0).unwrap();
    check(sizes, &qkv, within(1e-4, 1e-6), within(1.5e-2, 1e-3));
}

#[test]
fn tokens_that_are_not_there_do_not_outweigh_low_scores() {
    // Scores of some -140, beside which the weight of a score of zero would be infinite. Slopes that bf16 rounds sum to
    // zero no longer, which shows beside keys that are all far from it.
    let sizes = Sizes { batch: 1, tokens: 37, heads: 1, width: 16 };
    let signs = [6.0_f32, -6.0, 0.0].map(|x| Tensor::full(x, (1, 1, 16), &Device::Cpu).unwrap());
    let qkv = random_qkv(sizes).broadcast_add(&Tensor::cat(&signs, 2).unwrap()).unwrap();
    // As bf16 holds them.
    let qkv = qkv.to_dtype(DType::BF16).unwrap().to_dtype(DType::F32).unwrap();
    check(sizes, &qkv, within(1e-4, 1e-6), within(4e-2, 4e-3));
}
