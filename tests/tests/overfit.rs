//! One batch with fixed masks can be learned by heart.

use candle_core::{Device, Tensor};
use longmae_mae::{DecoderConfig, Mae, MaeConfig};
use longmae_masking::{MaskBatch, MaskCount, MaskDesign, MaskStrategy, RandomMask};
use longmae_ops::Params;
use longmae_patching::PatchGrid;
use longmae_train::{AdamW, AdamWConfig, Decay, Gradients, NamedParam, Schedule};
use longmae_vit::{TowerConfig, VitConfig};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

const STEPS: usize = 200;

/// Smooth pictures of two channels: waves of a direction and length of their own.
fn waves(batch: usize, side: usize) -> Tensor {
    let mut values = Vec::new();
    for image in 0..batch {
        for channel in 0..2 {
            for at in 0..side * side {
                let (row, col) = ((at / side) as f32, (at % side) as f32);
                let phase = (image + 1) as f32 * row / 9.0 + (channel + 2) as f32 * col / 11.0;
                values.push(phase.sin());
            }
        }
    }
    Tensor::from_vec(values, (batch, 2, side, side), &Device::Cpu).unwrap()
}

#[test]
fn the_loss_falls_below_a_tenth() {
    let grid = PatchGrid::new((32, 32), 4).unwrap();
    let config = MaeConfig {
        encoder: VitConfig { grid, channels: 2, tower: TowerConfig::new(48, 2, 4) },
        decoder: DecoderConfig::new(TowerConfig::new(32, 2, 4)),
        norm_pix_loss: false,
    };
    let params = Params::new(0, &Device::Cpu);
    let mae = Mae::new(config, &params).unwrap();
    let masking = RandomMask::new(MaskDesign { unit: 2, ratio: 0.75, count: MaskCount::Published });
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let plans: Vec<_> = (0..4).map(|_| masking.plan(grid, &mut rng).unwrap()).collect();
    let masks = MaskBatch::stack(&plans, &Device::Cpu).unwrap();
    let images = waves(4, 32);

    let named: Vec<_> = params.trainable().iter().map(NamedParam::new).collect();
    let mut optimizer = AdamW::new(named, AdamWConfig::default()).unwrap();
    let schedule = Schedule {
        lr: 3e-3,
        min_lr: 0.0,
        warmup_epochs: 10.0,
        epochs: STEPS as f64,
        decay: Decay::Cosine,
    };
    let mut losses = Vec::new();
    for step in 0..STEPS {
        let loss = mae.forward(&images, &masks, None).unwrap().loss;
        losses.push(loss.to_scalar::<f32>().unwrap());
        let mut gradients = Gradients::empty(optimizer.parameters().len());
        gradients
            .accumulate(optimizer.parameters(), longmae_ops::backward(&loss).unwrap())
            .unwrap();
        optimizer.step(&gradients, 1.0, schedule.at((step + 1) as f64)).unwrap();
    }
    let (first, last) = (losses[0], losses[STEPS - 1]);
    assert!(last < 0.1 * first, "from {first} to {last}");
}
