//! LARS against the formulas in f64.

mod common;

use candle_core::{DType, Device, Tensor, Var};
use common::{assert_near, norm, numbers, random, within};
use longmae_ops::{LarsStep, LarsTensor, lars};

const STEP: LarsStep = LarsStep { momentum: 0.9, trust_coefficient: 0.001, gradient_scale: 0.37 };

#[test]
fn every_instruction_set() {
    common::child::on_every_instruction_set();
}

/// One step, a number at a time.
fn expected(
    values: &mut [f64],
    momentum: &mut [f64],
    gradient: &[f64],
    lr: f64,
    decay: f64,
    rank: usize,
) {
    let (mut decayed, mut trust) = (vec![0.0; values.len()], 1.0);
    let decay = if rank > 1 { decay } else { 0.0 };
    for (i, out) in decayed.iter_mut().enumerate() {
        *out = gradient[i] * STEP.gradient_scale + decay * values[i];
    }
    let (own, other) = (norm(values.iter().copied()), norm(decayed.iter().copied()));
    if rank > 1 && own > 0.0 && other > 0.0 {
        trust = STEP.trust_coefficient * own / other;
    }
    for i in 0..values.len() {
        momentum[i] = STEP.momentum * momentum[i] + trust * decayed[i];
        values[i] -= lr * momentum[i];
    }
}

#[test]
fn ten_steps_are_the_formula() {
    for shape in
        [vec![1, 1], vec![1], vec![17], vec![3, 5], vec![2, 3, 4], vec![100, 701], vec![70_100]]
    {
        for decay in [0.0, 0.05] {
            ten_steps(&shape, decay);
        }
    }
}

fn ten_steps(shape: &[usize], weight_decay: f64) {
    let value = Var::from_tensor(&random(shape, 1)).unwrap();
    let momentum = Var::from_tensor(&value.zeros_like().unwrap()).unwrap();
    let (mut values, mut momenta) = (numbers(&value), numbers(&momentum));
    for step in 1..=10 {
        let gradient = random(shape, 10 + step);
        let lr = 0.3 * step as f64;
        let tensor = LarsTensor {
            value: &value,
            momentum: &momentum,
            gradient: &gradient,
            lr,
            weight_decay,
        };
        lars(&[tensor], &STEP).unwrap();
        let gradient = numbers(&gradient);
        expected(&mut values, &mut momenta, &gradient, lr, weight_decay, shape.len());
        for (found, expected) in [(&value, &values), (&momentum, &momenta)] {
            let expected = Tensor::from_vec(expected.clone(), shape, &Device::Cpu).unwrap();
            let what = format!("{shape:?} after step {step}");
            assert_near(&what, found.as_tensor(), &expected, within(3e-6, 3e-6));
        }
    }
}

#[test]
fn tensors_that_do_not_fit_are_refused_and_left_alone() {
    let var = |len: usize| Var::from_tensor(&random(len, 1)).unwrap();
    let (value, momentum, other) = (var(17), var(17), var(16));
    let wide = Var::zeros(17, DType::F64, &Device::Cpu).unwrap();
    let fits = random(17, 2);
    let good = LarsTensor {
        value: &value,
        momentum: &momentum,
        gradient: &fits,
        lr: 0.1,
        weight_decay: 0.0,
    };
    let before = [value.as_tensor().copy().unwrap(), momentum.as_tensor().copy().unwrap()];
    let bad = [
        LarsTensor { gradient: other.as_tensor(), ..good },
        LarsTensor { gradient: wide.as_tensor(), ..good },
        LarsTensor { momentum: &other, ..good },
        LarsTensor { momentum: &wide, ..good },
        LarsTensor { value: &other, ..good },
        LarsTensor { value: &wide, ..good },
    ];
    for (i, tensor) in bad.into_iter().enumerate() {
        assert!(lars(&[tensor], &STEP).is_err(), "case {i}");
        let after = [value.as_detached_tensor(), momentum.as_detached_tensor()];
        common::assert_same_bits("after a refusal", &after, &before);
    }
}
