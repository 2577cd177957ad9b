//! AdamW, the gradient's norm and averages, against the operations on the CPU.

use candle_core::{Device, Tensor, Var};
use longmae_ops::{AdamWStep, AdamWTensor, adamw, gradient_norm, lerp_in_place};

use crate::buffer::Buffer;
use crate::common::{Draw, assert_all_near, assert_near, assert_same_bits, within};
use crate::emulator::Emulator;
use crate::orders::on_kernels;

const SIZES: [usize; 4] = [1, 6, 1023, 2049];
const LR: f64 = 1e-2;
const DECAY: f64 = 0.05;

fn step(step: u64) -> AdamWStep {
    AdamWStep { beta1: 0.9, beta2: 0.95, eps: 1e-8, step, gradient_scale: 0.37 }
}

fn grid(n: usize) -> [usize; 3] {
    [n.div_ceil(1024), 1, 1]
}

/// Three steps on the device's kernel.
fn three_steps(e: &Emulator, value: &Tensor, gradient: &Tensor) -> Vec<Tensor> {
    let n = value.elem_count();
    let (value, gradient) = (Buffer::<f32>::from(value), Buffer::<f32>::from(gradient));
    let [first, second] = [(); 2].map(|()| Buffer::<f32>::of(vec![0.0; n]));
    for number in 1..=3 {
        let step = step(number);
        let (beta1, beta2, eps) = (step.beta1 as f32, step.beta2 as f32, step.eps as f32);
        let keep = (1.0 - LR * DECAY) as f32;
        let rate = (LR / (1.0 - step.beta1.powi(number as i32))) as f32;
        let correction = (1.0 / (1.0 - step.beta2.powi(number as i32)).sqrt()) as f32;
        let [a, b, c, d] = [&value, &first, &second, &gradient].map(Buffer::pointer);
        let scale = step.gradient_scale as f32;
        let arguments = (a, b, c, d, n, beta1, beta2, eps, keep, rate, correction, scale);
        e.launch("adamw", grid(n), 256, arguments);
    }
    [&value, &first, &second].map(|buffer| buffer.tensor(n)).into()
}

#[test]
fn three_steps_are_those_of_the_cpu() {
    for n in SIZES {
        let (value, gradient) = (Draw::Full.tensor(n, 1), Draw::Full.tensor(n, 2));
        let vars = [value.clone(), value.zeros_like().unwrap(), value.zeros_like().unwrap()]
            .map(|tensor| Var::from_tensor(&tensor).unwrap());
        for number in 1..=3 {
            let [value, first, second] = &vars;
            let (gradient, lr, weight_decay) = (&gradient, LR, DECAY);
            let tensor = AdamWTensor { value, first, second, gradient, lr, weight_decay };
            adamw(&[tensor], &step(number)).unwrap();
        }
        let expected = vars.map(|var| var.as_detached_tensor());
        let Some(found) = on_kernels(|e| three_steps(e, &value, &gradient)) else { return };
        assert_all_near(&format!("adamw of {n}"), &found, &expected, within(3e-7, 0.0));
    }
}

#[test]
fn squares_are_summed_in_f64() {
    for (n, chunk) in [(1, 256), (1000, 256), (5001, 1000)] {
        let x = Draw::Full.tensor(n, 1);
        let found = on_kernels(|e| {
            let (x, chunks) = (Buffer::<f32>::from(&x), n.div_ceil(chunk));
            let (partial, out) = (Buffer::<f64>::unset(chunks), Buffer::<f64>::unset(1));
            let arguments = (x.pointer(), partial.pointer(), n, chunk as i32);
            e.launch("squares_partials", [chunks, 1, 1], 256, arguments);
            let arguments = (partial.pointer(), out.pointer(), chunks as i32);
            e.launch("squares_finish", [1, 1, 1], 256, arguments);
            vec![out.tensor(())]
        });
        let Some(found) = found else { return };
        let expected = gradient_norm([&x]).unwrap().powi(2);
        let expected = Tensor::new(expected, &Device::Cpu).unwrap();
        assert_near("squares", &found[0], &expected, within(1e-6, 0.0));
    }
}

#[test]
fn averages_exchange_and_sums() {
    for n in SIZES {
        let (a, b) = (Draw::Full.tensor(n, 1), Draw::Full.tensor(n, 2));
        let found = on_kernels(|e| {
            let [average, sum, left] = [(); 3].map(|()| Buffer::<f32>::from(&a));
            let [x, right] = [(); 2].map(|()| Buffer::<f32>::from(&b));
            e.launch("lerp", grid(n), 256, (average.pointer(), x.pointer(), n, 0.25_f32));
            e.launch("add_scaled", grid(n), 256, (sum.pointer(), x.pointer(), n, -0.5_f32));
            e.launch("swap", grid(n), 256, (left.pointer(), right.pointer(), n));
            [&average, &sum, &left, &right].map(|buffer| buffer.tensor(n)).into()
        });
        let Some(found) = found else { return };
        let average = Var::from_tensor(&a).unwrap();
        lerp_in_place(&average, &b, 0.25).unwrap();
        let sum = (&a - (&b * 0.5).unwrap()).unwrap();
        let expected = [average.as_detached_tensor(), sum];
        assert_all_near(&format!("{n} numbers"), &found[..2], &expected, within(1e-6, 0.0));
        assert_same_bits("swap", &found[2..], &[b, a]);
    }
}

#[test]
fn numbers_that_are_not_aligned_are_taken_one_by_one() {
    let (a, b) = (Draw::Full.tensor(100, 1), Draw::Full.tensor(100, 2));
    let found = on_kernels(|e| {
        let (left, right) = (Buffer::<f32>::from(&a), Buffer::<f32>::from(&b));
        e.launch(
            "swap",
            grid(99),
            256,
            (left.pointer().wrapping_add(1), right.pointer(), 99_usize),
        );
        vec![left.tensor(100), right.tensor(100)]
    });
    let Some(found) = found else { return };
    let [a_first, a_rest] = [a.narrow(0, 0, 1).unwrap(), a.narrow(0, 1, 99).unwrap()];
    let [b_rest, b_last] = [b.narrow(0, 0, 99).unwrap(), b.narrow(0, 99, 1).unwrap()];
    let left = Tensor::cat(&[a_first, b_rest], 0).unwrap();
    let right = Tensor::cat(&[a_rest, b_last], 0).unwrap();
    assert_same_bits("swap", &found, &[left, right]);
}
