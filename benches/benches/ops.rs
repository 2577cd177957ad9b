//! Norm, softmax and GELU, forward and backward, at the sizes of ViT-B on 8 images of 196 tokens.

use candle_core::{DType, Device, Tensor, Var};
use divan::Bencher;
use longmae_ops::{gelu, layer_norm, linear, softmax};

fn main() {
    divan::main();
}

fn var(shape: &[usize]) -> Var {
    Var::from_tensor(&Tensor::randn(0f32, 1.0, shape, &Device::Cpu).unwrap()).unwrap()
}

/// Times an operation with its backward pass.
fn both_ways(bencher: Bencher<'_, '_>, op: impl Fn() -> Tensor) {
    bencher.bench_local(|| op().sum_all().unwrap().backward().unwrap());
}

#[divan::bench]
fn layer_norm_8x197x768(bencher: Bencher<'_, '_>) {
    let (x, weight, bias) = (var(&[8, 197, 768]), var(&[768]), var(&[768]));
    both_ways(bencher, || layer_norm(&x, &weight, &bias, 1e-6).unwrap());
}

#[divan::bench]
fn softmax_8x12x197x197(bencher: Bencher<'_, '_>) {
    let x = var(&[8, 12, 197, 197]);
    both_ways(bencher, || softmax(&x).unwrap());
}

#[divan::bench]
fn gelu_8x197x3072(bencher: Bencher<'_, '_>) {
    let x = var(&[8, 197, 3072]);
    both_ways(bencher, || gelu(&x).unwrap());
}

#[divan::bench]
fn linear_8x197x768_to_3072(bencher: Bencher<'_, '_>) {
    let (x, weight, bias) = (var(&[8, 197, 768]), var(&[3072, 768]), var(&[3072]));
    assert_eq!(x.dtype(), DType::F32);
    both_ways(bencher, || linear(&x, &weight, Some(&bias)).unwrap());
}
