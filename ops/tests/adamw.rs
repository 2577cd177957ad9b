//! AdamW and the gradients' norm against the formulas in f64.

mod common;

use candle_core::{DType, Device, Tensor, Var};
use common::{assert_near, bits, norm, numbers, random, within};
use longmae_ops::{AdamWStep, AdamWTensor, adamw, add_in_place, gradient_norm};

const STEP: AdamWStep =
    AdamWStep { beta1: 0.9, beta2: 0.95, eps: 1e-8, step: 1, gradient_scale: 1.0 };

#[test]
fn every_instruction_set() {
    common::child::on_every_instruction_set();
}

/// A parameter with its moments.
struct Param {
    value: Var,
    first: Var,
    second: Var,
}

impl Param {
    fn new(len: usize) -> Self {
        let var = |tensor: &Tensor| Var::from_tensor(tensor).unwrap();
        let value = random(len, 1);
        let zeros = value.zeros_like().unwrap();
        Self { value: var(&value), first: var(&zeros), second: var(&zeros) }
    }

    fn with<'a>(&'a self, gradient: &'a Tensor, lr: f64, weight_decay: f64) -> AdamWTensor<'a> {
        let Self { value, first, second } = self;
        AdamWTensor { value, first, second, gradient, lr, weight_decay }
    }

    fn tensors(&self) -> [Tensor; 3] {
        [&self.value, &self.first, &self.second].map(|var| var.as_detached_tensor())
    }
}

/// Loshchilov and Hutter's algorithm 2 with PyTorch's order of operations, one number at a time.
fn expected(state: &mut [f64; 3], gradient: f64, lr: f64, weight_decay: f64, step: &AdamWStep) {
    let [value, first, second] = state;
    let gradient = gradient * step.gradient_scale;
    *value -= lr * weight_decay * *value;
    *first = step.beta1 * *first + (1.0 - step.beta1) * gradient;
    *second = step.beta2 * *second + (1.0 - step.beta2) * gradient * gradient;
    let steps = step.step as i32;
    let first = *first / (1.0 - step.beta1.powi(steps));
    let second = *second / (1.0 - step.beta2.powi(steps));
    *value -= lr * first / (second.sqrt() + step.eps);
}

#[test]
fn ten_steps_are_the_formula() {
    for len in [1, 2, 15, 17, 100_000] {
        for (weight_decay, gradient_scale) in [(0.0, 1.0), (0.05, 0.37)] {
            ten_steps(len, weight_decay, gradient_scale);
        }
    }
}

fn ten_steps(len: usize, weight_decay: f64, gradient_scale: f64) {
    let param = Param::new(len);
    let mut state: Vec<[f64; 3]> = numbers(&param.value).iter().map(|x| [*x, 0.0, 0.0]).collect();
    for step in 1..=10 {
        let gradient = random(len, 10 + step);
        let lr = 0.01 * step as f64;
        let step = AdamWStep { step, gradient_scale, ..STEP };
        adamw(&[param.with(&gradient, lr, weight_decay)], &step).unwrap();
        for (state, gradient) in state.iter_mut().zip(numbers(&gradient)) {
            expected(state, gradient, lr, weight_decay, &step);
        }
        for (part, found) in param.tensors().iter().enumerate() {
            let expected: Vec<f64> = state.iter().map(|state| state[part]).collect();
            let expected = Tensor::from_vec(expected, len, &Device::Cpu).unwrap();
            let what = format!("{len} numbers, part {part} after step {}", step.step);
            assert_near(&what, found, &expected, within(1e-6, 1e-7));
        }
    }
}

#[test]
fn tensors_have_rates_of_their_own() {
    let (alone, together) = ([Param::new(5), Param::new(70)], [Param::new(5), Param::new(70)]);
    let gradients = [random(5, 2), random(70, 3)];
    let rates = [(0.1, 0.0), (0.02, 0.3)];
    for i in 0..2 {
        adamw(&[alone[i].with(&gradients[i], rates[i].0, rates[i].1)], &STEP).unwrap();
    }
    let all = [0, 1].map(|i| together[i].with(&gradients[i], rates[i].0, rates[i].1));
    adamw(&all, &STEP).unwrap();
    for (alone, together) in alone.iter().zip(&together) {
        common::assert_same_bits("together", &together.tensors(), &alone.tensors());
    }
}

#[test]
fn tensors_that_do_not_fit_are_refused_and_left_alone() {
    let (param, other) = (Param::new(17), Param::new(16));
    let wide = Var::zeros(17, DType::F64, &Device::Cpu).unwrap();
    let fits = random(17, 2);
    let doubles = fits.to_dtype(DType::F64).unwrap();
    let good = param.with(&fits, 0.1, 0.0);
    let before = param.tensors();
    let bad = [
        AdamWTensor { gradient: other.value.as_tensor(), ..good },
        AdamWTensor { first: &other.first, ..good },
        AdamWTensor { second: &other.second, ..good },
        AdamWTensor { value: &other.value, ..good },
        AdamWTensor { gradient: &doubles, ..good },
        AdamWTensor { value: &wide, ..good },
        AdamWTensor { first: &wide, ..good },
        AdamWTensor { second: &wide, ..good },
    ];
    for (i, tensor) in bad.into_iter().enumerate() {
        assert!(adamw(&[tensor], &STEP).is_err(), "case {i}");
        common::assert_same_bits("after a refusal", &param.tensors(), &before);
    }
}

#[test]
fn the_norm_is_the_sum_over_all() {
    let gradients = [1, 17, 32_768, 32_769, 100_000].map(|len| random(len, len as u64));
    let views = [random((5, 7), 1).t().unwrap(), random((9, 2), 2).narrow(0, 3, 4).unwrap()];
    let all: Vec<&Tensor> = gradients.iter().chain(&views).collect();
    let expected = norm(all.iter().flat_map(|tensor| numbers(tensor)));
    let found = gradient_norm(all).unwrap();
    assert!((found / expected - 1.0).abs() < 1e-6, "{found} instead of {expected}");
    assert_eq!(gradient_norm([]).unwrap(), 0.0);
}

#[test]
fn a_bad_number_shows_in_the_norm() {
    for (value, nan) in [(f64::NAN, true), (f64::INFINITY, false)] {
        let bad = (Tensor::ones(40_000, DType::F32, &Device::Cpu).unwrap() * value).unwrap();
        let found = gradient_norm([&random(5, 1), &bad]).unwrap();
        assert!(if nan { found.is_nan() } else { found == f64::INFINITY }, "{found}");
    }
    let wide = Tensor::zeros(3, DType::F64, &Device::Cpu).unwrap();
    assert!(gradient_norm([&wide]).is_err());
}

#[test]
fn sums_are_made_where_they_lie() {
    for len in [1, 17, 65_537] {
        let (sum, x) = (random(len, 1), random(len, 2));
        let expected = (&sum + &x).unwrap();
        add_in_place(&sum, &x).unwrap();
        assert!(bits(&sum) == bits(&expected));
    }
    for wrong in [random(4, 1), random((1, 3), 1), random(3, 1).to_dtype(DType::F64).unwrap()] {
        assert!(add_in_place(&random(3, 1), &wrong).is_err());
    }
}
