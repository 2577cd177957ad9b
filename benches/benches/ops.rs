//! Each kernel against its reference in plain candle, forward and backward, at ViT-B's sizes.
//!
//! Items of products (linear, attention, block) are floating-point operations: `Gitem/s` reads as GFLOP/s; what the
//! kernels compute a second time in the backward pass is not counted. `a_limit_of_products` is what the hardware can do. Elsewhere items are numbers. Kernels that stay
//! in f32 whatever the precision, and the reference, are timed in f32 alone.
//!
//! `RAYON_NUM_THREADS` sets the number of threads.

use std::fmt;

use candle_core::{CpuStorage, CustomOp1, DType, Device, Layout, Result, Shape, Tensor, Var};
use divan::Bencher;
use divan::counter::ItemsCount;
use longmae_ops::{
    AdamWStep, AdamWTensor, Compute, Kernels, Params, Precision, adamw, attention, backward, gelu,
    inner_loop, layer_norm, linear, pixel_loss, restore_tokens,
};
use longmae_vit::{Block, TowerConfig};

// As the programs: freed memory comes back without a trip to the system.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const BATCH: usize = 8;
/// Of 224 x 224 pixels in patches of 16.
const PATCHES: usize = 196;
/// A quarter of them is visible.
const VISIBLE: usize = 49;
const DIM: usize = 768;
const DECODER_DIM: usize = 512;
const HIDDEN: usize = 4 * DIM;
const PIXELS: usize = 16 * 16 * 3;

fn main() {
    // As the programs do.
    longmae_cli::keep_freed_memory();
    divan::Divan::default().sample_count(20).sample_size(1).config_with_args().main();
}

/// What is compared.
#[derive(Clone, Copy)]
enum Way {
    Fused(Precision),
    Reference,
}

/// Of operations with matrix products.
const PRODUCTS: [Way; 3] =
    [Way::Fused(Precision::Fp32), Way::Fused(Precision::Bf16), Way::Reference];
/// Of operations that know f32 alone.
const ROWS: [Way; 2] = [Way::Fused(Precision::Fp32), Way::Reference];

impl Way {
    fn compute(self) -> Compute {
        match self {
            Self::Fused(precision) => Compute { precision, ..Compute::default() },
            Self::Reference => Compute { kernels: Kernels::Reference, ..Compute::default() },
        }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fused(precision) => write!(f, "fused {precision}"),
            Self::Reference => f.write_str("reference"),
        }
    }
}

fn random(shape: &[usize]) -> Tensor {
    Tensor::randn(0_f32, 1.0, shape, &Device::Cpu).unwrap()
}

fn var(shape: &[usize]) -> Var {
    Var::from_tensor(&random(shape)).unwrap()
}

/// The hardware's limit: the products' innermost loop alone, on operands in the first-level cache.
#[divan::bench(args = [Precision::Fp32, Precision::Bf16])]
fn a_limit_of_products(bencher: Bencher<'_, '_>, precision: Precision) {
    const REPEATS: usize = 2000;
    let operations = inner_loop(precision, 1) * REPEATS as u64;
    bencher.counter(ItemsCount::new(operations)).bench(|| inner_loop(precision, REPEATS));
}

/// A loss with a given gradient: of what follows the operation nothing is timed.
struct Slope(Tensor);

impl CustomOp1 for Slope {
    fn name(&self) -> &'static str {
        "slope"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        Ok((CpuStorage::F32(vec![0.0]), Shape::from(())))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, _: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(self.0.clone()))
    }
}

/// Times an operation of `items` with its backward pass.
fn both_ways(bencher: Bencher<'_, '_>, items: usize, op: impl Fn() -> Result<Tensor>) {
    let slope = random(op().unwrap().dims());
    bencher.counter(ItemsCount::new(items)).bench_local(|| {
        let loss = op().unwrap().apply_op1(Slope(slope.clone())).unwrap();
        backward(&loss).unwrap()
    });
}

/// Operations of `rows` rows through a linear layer: one product forward, two backward.
fn linear_flops(rows: usize, inputs: usize, outputs: usize) -> usize {
    3 * 2 * rows * inputs * outputs
}

/// Operations of attention itself: two products forward, four backward.
fn attention_flops(batch: usize, tokens: usize, dim: usize) -> usize {
    6 * 2 * batch * tokens * tokens * dim
}

#[divan::bench(args = PRODUCTS)]
fn linear_400x768_to_3072(bencher: Bencher<'_, '_>, way: Way) {
    let rows = BATCH * (1 + VISIBLE);
    let (x, weight, bias) = (var(&[rows, DIM]), var(&[HIDDEN, DIM]), var(&[HIDDEN]));
    both_ways(bencher, linear_flops(rows, DIM, HIDDEN), || {
        linear(&x, &weight, Some(&bias), way.compute())
    });
}

#[divan::bench(args = PRODUCTS)]
fn attention_8x197x512_16_heads(bencher: Bencher<'_, '_>, way: Way) {
    let tokens = 1 + PATCHES;
    let qkv = var(&[BATCH, tokens, 3 * DECODER_DIM]);
    both_ways(bencher, attention_flops(BATCH, tokens, DECODER_DIM), || {
        attention(&qkv, 16, way.compute())
    });
}

#[divan::bench(args = PRODUCTS)]
fn block_8x50x768_12_heads(bencher: Bencher<'_, '_>, way: Way) {
    let tokens = 1 + VISIBLE;
    let params = Params::new(0, &Device::Cpu).computing(way.compute());
    let block = Block::new(&TowerConfig::new(DIM, 1, 12), &params).unwrap();
    let x = var(&[BATCH, tokens, DIM]);
    // Queries, keys, values and the projection, then the MLP: 4 + 8 times dim x dim.
    let flops = linear_flops(BATCH * tokens, DIM, 12 * DIM) + attention_flops(BATCH, tokens, DIM);
    both_ways(bencher, flops, || Ok(block.forward(&x, None).unwrap()));
}

#[divan::bench(args = ROWS)]
fn layer_norm_8x197x768(bencher: Bencher<'_, '_>, way: Way) {
    let (x, weight, bias) = (var(&[BATCH, 1 + PATCHES, DIM]), var(&[DIM]), var(&[DIM]));
    both_ways(bencher, x.elem_count(), || layer_norm(&x, &weight, &bias, 1e-6, way.compute()));
}

#[divan::bench(args = ROWS)]
fn gelu_8x197x3072(bencher: Bencher<'_, '_>, way: Way) {
    let x = var(&[BATCH, 1 + PATCHES, HIDDEN]);
    both_ways(bencher, x.elem_count(), || gelu(&x, way.compute()));
}

#[divan::bench(args = ROWS)]
fn restore_tokens_8x196x512(bencher: Bencher<'_, '_>, way: Way) {
    let visible = var(&[BATCH, 1 + VISIBLE, DECODER_DIM]);
    let mask_token = var(&[1, 1, DECODER_DIM]);
    let positions = random(&[1, 1 + PATCHES, DECODER_DIM]);
    // Steps of 5 reach each of the 196 places once.
    let order = (0..BATCH * PATCHES).map(|i| (5 * (i % PATCHES) % PATCHES) as u32);
    let restore = Tensor::from_iter(order, &Device::Cpu).unwrap();
    let restore = restore.reshape((BATCH, PATCHES)).unwrap();
    both_ways(bencher, BATCH * (1 + PATCHES) * DECODER_DIM, || {
        restore_tokens(&visible, &mask_token, &restore, Some(&positions), way.compute())
    });
}

#[divan::bench(args = ROWS)]
fn pixel_loss_8x196x768(bencher: Bencher<'_, '_>, way: Way) {
    let pred = var(&[BATCH, PATCHES, PIXELS]);
    let patches = random(&[BATCH, PATCHES, PIXELS]);
    let weights = (0..BATCH * PATCHES).map(|i| if i % 4 == 0 { 0_f32 } else { 1.0 });
    let weights = Tensor::from_iter(weights, &Device::Cpu).unwrap();
    let weights = weights.reshape((BATCH, PATCHES)).unwrap();
    both_ways(bencher, pred.elem_count(), || {
        pixel_loss(&pred, &patches, &weights, true, way.compute())
    });
}

const LR: f64 = 1e-4;
const WEIGHT_DECAY: f64 = 0.05;
const STEP: AdamWStep =
    AdamWStep { beta1: 0.9, beta2: 0.95, eps: 1e-8, step: 10, gradient_scale: 1.0 };

#[divan::bench(args = ROWS)]
fn adamw_1e7(bencher: Bencher<'_, '_>, way: Way) {
    let shape = [10_000_000];
    let (value, gradient) = (var(&shape), random(&shape));
    let first = var(&shape);
    let second = Var::zeros(&shape, DType::F32, &Device::Cpu).unwrap();
    let tensor = AdamWTensor {
        value: &value,
        first: &first,
        second: &second,
        gradient: &gradient,
        lr: LR,
        weight_decay: WEIGHT_DECAY,
    };
    bencher.counter(ItemsCount::new(shape[0])).bench_local(|| match way {
        Way::Fused(_) => adamw(&[tensor], &STEP).unwrap(),
        Way::Reference => plain_adamw(&tensor).unwrap(),
    });
}

/// One update in plain candle operations.
fn plain_adamw(tensor: &AdamWTensor<'_>) -> Result<()> {
    let AdamWStep { beta1, beta2, eps, step, .. } = STEP;
    let AdamWTensor { value, first, second, gradient, lr, weight_decay } = *tensor;
    let mean = ((first.as_detached_tensor() * beta1)? + (gradient * (1.0 - beta1))?)?;
    let square = ((second.as_detached_tensor() * beta2)? + (gradient.sqr()? * (1.0 - beta2))?)?;
    let root = ((&square / (1.0 - beta2.powi(step as i32)))?.sqrt()? + eps)?;
    let change = ((&mean / (1.0 - beta1.powi(step as i32)))? / root)?;
    let kept = (value.as_detached_tensor() * (1.0 - lr * weight_decay))?;
    value.set(&(kept - (change * lr)?)?)?;
    first.set(&mean)?;
    second.set(&square)
}
