//! Products in bf16 against the same model in fp32: loss, gradients, ten steps, and a longer run.

use candle_core::Tensor;
use longmae_ops::{Compute, Kernels, Precision};
use longmae_tests::{Case, Fixture, fixtures};
use longmae_train::{AdamW, AdamWConfig, Gradients, NamedParam};

const BF16: Compute =
    Compute { kernels: Kernels::Fused, precision: Precision::Bf16, grad_checkpoint: false };

fn loss(case: &Case) -> Tensor {
    case.mae.forward(&case.images, &case.masks, None).unwrap().loss
}

fn number(loss: &Tensor) -> f64 {
    f64::from(loss.to_scalar::<f32>().unwrap())
}

/// All gradients, one after the other.
fn gradients(case: &Case) -> Vec<f32> {
    let store = longmae_ops::backward(&loss(case)).unwrap();
    let trainable = case.params.trainable();
    trainable
        .iter()
        .flat_map(|param| store.get(&param.var).unwrap().flatten_all().unwrap().to_vec1().unwrap())
        .collect()
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    };
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

#[test]
fn loss_and_gradients_stay_near() {
    for fixture in fixtures("mae_") {
        let name = fixture.path.display();
        let (full, half) = (Case::new(&fixture, Compute::default()), Case::new(&fixture, BF16));
        let (expected, found) = (number(&loss(&full)), number(&loss(&half)));
        let off = (found / expected - 1.0).abs();
        assert!(off < 0.01, "{name}: loss {found}, in fp32 {expected}");
        assert_ne!(found, expected, "{name}: bf16 that rounds nothing");
        let cosine = cosine(&gradients(&full), &gradients(&half));
        assert!(cosine > 0.999, "{name}: cosine of the gradients {cosine}");
    }
}

/// The loss before each of `steps` AdamW steps.
fn trajectory(fixture: &Fixture, compute: Compute, steps: usize, lr: f64) -> Vec<f64> {
    let case = Case::new(fixture, compute);
    let named: Vec<NamedParam> = case.params.trainable().iter().map(NamedParam::new).collect();
    let mut optimizer = AdamW::new(named, AdamWConfig::default()).unwrap();
    let mut losses = Vec::new();
    for _ in 0..steps {
        let loss = loss(&case);
        losses.push(number(&loss));
        let mut gradients = Gradients::empty(optimizer.parameters().len());
        let store = longmae_ops::backward(&loss).unwrap();
        gradients.accumulate(optimizer.parameters(), store).unwrap();
        optimizer.step(&gradients, 1.0, lr).unwrap();
    }
    losses
}

#[test]
fn ten_steps_stay_near_pytorchs_in_fp32() {
    for fixture in fixtures("mae_") {
        let expected: Vec<f64> = fixture.get("trajectory").to_vec1().unwrap();
        let found = trajectory(&fixture, BF16, 10, 1e-3);
        for (found, expected) in found.iter().zip(&expected) {
            let off = (found / expected - 1.0).abs();
            assert!(off < 0.02, "{}: loss {found}, expected {expected}", fixture.path.display());
        }
    }
}

#[test]
fn three_hundred_steps_end_where_fp32_does() {
    let fixture = &fixtures("mae_mask2.")[0];
    let last = |compute| {
        let losses = trajectory(fixture, compute, 300, 5e-4);
        assert!(losses[299] < 0.5 * losses[0], "{} to {}", losses[0], losses[299]);
        losses[280..].iter().sum::<f64>() / 20.0
    };
    let (expected, found) = (last(Compute::default()), last(BF16));
    let off = (found / expected - 1.0).abs();
    assert!(off < 0.02, "loss {found} after 300 steps, in fp32 {expected}");
}
