//! Whole optimiser steps: forward, backward, AdamW.

use candle_core::{Device, Tensor};
use divan::Bencher;
use divan::counter::ItemsCount;
use longmae_mae::{Mae, MaeConfig};
use longmae_masking::{MaskBatch, MaskCount, MaskDesign, MaskStrategy, RandomMask};
use longmae_ops::Params;
use longmae_patching::PatchGrid;
use longmae_train::{AdamW, AdamWConfig, Gradients, NamedParam};
use longmae_vit::Preset;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

fn main() {
    divan::main();
}

fn step(bencher: Bencher<'_, '_>, preset: Preset, side: usize, patch: usize, batch: usize) {
    let grid = PatchGrid::new((side, side), patch).unwrap();
    let params = Params::new(0, &Device::Cpu);
    let mae = Mae::new(MaeConfig::preset(preset, grid, 3), &params).unwrap();
    let design = MaskDesign { unit: 2, ratio: 0.75, count: MaskCount::Published };
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let plans: Vec<_> =
        (0..batch).map(|_| RandomMask::new(design).plan(grid, &mut rng).unwrap()).collect();
    let masks = MaskBatch::stack(&plans, &Device::Cpu).unwrap();
    let images = Tensor::randn(0f32, 1.0, (batch, 3, side, side), &Device::Cpu).unwrap();
    let named: Vec<_> = params.trainable().iter().map(NamedParam::new).collect();
    let mut optimizer = AdamW::new(named, AdamWConfig::default()).unwrap();
    bencher.counter(ItemsCount::new(batch)).bench_local(|| {
        let loss = mae.forward(&images, &masks, None).unwrap().loss;
        let mut gradients = Gradients::empty(optimizer.parameters().len());
        gradients
            .accumulate(optimizer.parameters(), longmae_ops::backward(&loss).unwrap())
            .unwrap();
        optimizer.step(&gradients, 1.0, 1e-4).unwrap();
    });
}

#[divan::bench(sample_count = 5, sample_size = 1)]
fn vit_nano_64_8(bencher: Bencher<'_, '_>) {
    step(bencher, Preset::Nano, 64, 8, 16);
}

#[divan::bench(sample_count = 3, sample_size = 1)]
fn vit_tiny_224_16(bencher: Bencher<'_, '_>) {
    step(bencher, Preset::Tiny, 224, 16, 8);
}
