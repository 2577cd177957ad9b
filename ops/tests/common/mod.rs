//! What the tests of the fused operations share: numbers, an oracle in f64, comparisons.
#![allow(dead_code, reason = "each test file uses its own part")]

pub mod block;
pub mod child;

use candle_core::{DType, Device, Result, Shape, Tensor, Var};
use longmae_ops::{Compute, Precision, backward};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

pub const FP32: Compute = compute(Precision::Fp32);
pub const BF16: Compute = compute(Precision::Bf16);

const fn compute(precision: Precision) -> Compute {
    Compute { kernels: longmae_ops::Kernels::Fused, precision, grad_checkpoint: false }
}

/// How many bits random numbers have.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Draw {
    /// Those of f32.
    Full,
    /// Those of bf16: then a product of bf16 operands rounds nothing away.
    Rounded,
}

impl Draw {
    /// Uniform numbers between -2 and 2.
    pub fn tensor(self, shape: impl Into<Shape>, seed: u64) -> Tensor {
        let shape = shape.into();
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let values = (0..shape.elem_count()).map(|_| rng.random_range(-2.0_f32..2.0));
        let kept = if self == Draw::Full { u32::MAX } else { 0xffff_0000 };
        let values: Vec<f32> = values.map(|x| f32::from_bits(x.to_bits() & kept)).collect();
        Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
    }
}

pub fn random(shape: impl Into<Shape>, seed: u64) -> Tensor {
    Draw::Full.tensor(shape, seed)
}

pub fn ids(rows: &[Vec<u32>]) -> Tensor {
    Tensor::new(rows.to_vec(), &Device::Cpu).unwrap()
}

/// The output of an operation and every input's gradient, under a loss that weighs each number of the output.
pub fn run(
    draw: Draw,
    inputs: &[Tensor],
    op: impl Fn(&[Tensor]) -> Result<Tensor>,
) -> Result<Vec<Tensor>> {
    let vars = inputs.iter().map(Var::from_tensor).collect::<Result<Vec<_>>>()?;
    let tensors: Vec<Tensor> = vars.iter().map(|var| var.as_tensor().clone()).collect();
    let out = op(&tensors)?;
    let gradients = backward(&weighed(draw, &out)?)?;
    let mut all = vec![out];
    for tensor in &tensors {
        all.push(gradients.get(tensor).expect("a gradient for every input").clone());
    }
    Ok(all)
}

/// A loss whose gradient is a random number for each of the output's.
pub fn weighed(draw: Draw, out: &Tensor) -> Result<Tensor> {
    (out * draw.tensor(out.shape(), 99).to_dtype(out.dtype())?)?.sum_all()
}

/// The same in f64, by plain operations.
pub fn oracle(
    draw: Draw,
    inputs: &[Tensor],
    plain: impl Fn(&[Tensor]) -> Result<Tensor>,
) -> Vec<Tensor> {
    let wide = inputs.iter().map(|x| x.to_dtype(DType::F64)).collect::<Result<Vec<_>>>();
    run(draw, &wide.unwrap(), plain).unwrap()
}

/// `|found - expected| <= relative |expected| + absolute sqrt(n)` in L2 norms.
#[derive(Debug, Clone, Copy)]
pub struct Tolerance {
    pub relative: f64,
    pub absolute: f64,
}

pub const fn within(relative: f64, absolute: f64) -> Tolerance {
    Tolerance { relative, absolute }
}

pub fn numbers(tensor: &Tensor) -> Vec<f64> {
    tensor.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

pub fn bits(tensor: &Tensor) -> Vec<u32> {
    let values: Vec<f32> = tensor.flatten_all().unwrap().to_vec1().unwrap();
    values.into_iter().map(f32::to_bits).collect()
}

pub fn norm(values: impl IntoIterator<Item = f64>) -> f64 {
    values.into_iter().map(|x| x * x).sum::<f64>().sqrt()
}

pub fn assert_near(what: &str, found: &Tensor, expected: &Tensor, tolerance: Tolerance) {
    assert_eq!(found.dims(), expected.dims(), "{what}: shape");
    let (found, expected) = (numbers(found), numbers(expected));
    let error = norm(found.iter().zip(&expected).map(|(a, b)| a - b));
    let size = norm(expected.iter().copied());
    let room = tolerance.relative * size + tolerance.absolute * (found.len() as f64).sqrt();
    assert!(error <= room, "{what}: off by {error:.3e}, allowed {room:.3e}, size {size:.3e}");
}

/// Compares output and gradients, one after the other.
pub fn assert_all_near(what: &str, found: &[Tensor], expected: &[Tensor], tolerance: Tolerance) {
    assert_eq!(found.len(), expected.len(), "{what}: count");
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        let part = if i == 0 { "output".to_owned() } else { format!("gradient {}", i - 1) };
        assert_near(&format!("{what}, {part}"), found, expected, tolerance);
    }
}

pub fn assert_same_bits(what: &str, found: &[Tensor], expected: &[Tensor]) {
    assert_eq!(found.len(), expected.len(), "{what}: count");
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert_eq!(found.dims(), expected.dims(), "{what}, part {i}: shape");
        assert!(bits(found) == bits(expected), "{what}, part {i}: other bits");
    }
}
