//! A file of reference numbers, and distances to them.

use std::collections::HashMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use longmae_ops::{Compute, Kernels, Param, Params, Precision};
use serde_json::Value;

/// Largest absolute difference of outputs, which are of order one.
pub const OUTPUT: f64 = 2e-5;
/// Relative L2 distance of a gradient.
pub const GRADIENT: f64 = 1e-4;

pub const FUSED: Compute =
    Compute { kernels: Kernels::Fused, precision: Precision::Fp32, grad_checkpoint: false };
pub const REFERENCE: Compute = Compute { kernels: Kernels::Reference, ..FUSED };

pub struct Fixture {
    pub case: Value,
    tensors: HashMap<String, Tensor>,
}

impl Fixture {
    pub fn open(name: &str) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
        let bytes = std::fs::read(folder.join(format!("{name}.safetensors"))).unwrap();
        let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
        let case = header.metadata().as_ref().and_then(|map| map.get("case")).cloned();
        Self {
            case: serde_json::from_str(&case.unwrap()).unwrap(),
            tensors: candle_core::safetensors::load_buffer(&bytes, &Device::Cpu).unwrap(),
        }
    }

    #[track_caller]
    pub fn get(&self, name: &str) -> &Tensor {
        self.tensors.get(name).unwrap_or_else(|| panic!("no `{name}` in the fixture"))
    }

    pub fn number(&self, name: &str) -> usize {
        self.case[name].as_u64().unwrap() as usize
    }

    pub fn pair(&self, name: &str) -> (usize, usize) {
        let number = |i: usize| self.case[name][i].as_u64().unwrap() as usize;
        (number(0), number(1))
    }

    /// Boxes `[n, 4]`.
    pub fn boxes(&self, name: &str) -> Vec<[f32; 4]> {
        let rows: Vec<Vec<f32>> = self.get(name).to_vec2().unwrap();
        rows.into_iter().map(|row| row.try_into().unwrap()).collect()
    }

    pub fn numbers(&self, name: &str) -> Vec<f32> {
        self.get(name).flatten_all().unwrap().to_vec1().unwrap()
    }

    pub fn integers(&self, name: &str) -> Vec<i64> {
        self.get(name).to_dtype(DType::I64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    }

    /// Sets every parameter from `weights.NAME`; a name on one side only is a failure.
    pub fn set_weights(&self, params: &Params) {
        for param in params.all() {
            param.var.set(self.get(&format!("weights.{}", param.name))).unwrap();
        }
        let stored = self.tensors.keys().filter(|name| name.starts_with("weights.")).count();
        assert_eq!(stored, params.all().len(), "number of weights");
    }

    /// Compares every parameter's gradient with `grad.NAME`. Keys' rows of `qkv.bias` are left out: their true gradient is
    /// zero but for the padding of windows.
    pub fn check_gradients(&self, params: &Params, loss: &Tensor, tolerance: f64, what: &str) {
        let gradients = longmae_ops::backward(loss).unwrap();
        let distance = |param: &Param| {
            let found = gradients.get(&param.var);
            let found = found.unwrap_or_else(|| panic!("{what}: no gradient of {}", param.name));
            let expected = self.get(&format!("grad.{}", param.name));
            (relative(&format!("{what} {}", param.name), found, expected), param.name.clone())
        };
        let distances = params.trainable().iter().map(distance).collect::<Vec<_>>();
        let worst = distances.iter().max_by(|a, b| a.0.total_cmp(&b.0)).unwrap();
        assert!(worst.0 <= tolerance, "{what} {}: off by {:.2e}", worst.1, worst.0);
    }
}

/// A map with channels last as PyTorch has it.
pub fn channels_first(x: &Tensor) -> Tensor {
    x.permute((0, 3, 1, 2)).unwrap().contiguous().unwrap()
}

pub fn channels_last(x: &Tensor) -> Tensor {
    x.permute((0, 2, 3, 1)).unwrap().contiguous().unwrap()
}

fn difference(found: &Tensor, expected: &Tensor, what: &str) -> (Vec<f64>, Vec<f64>) {
    assert_eq!(found.dims(), expected.dims(), "{what}: shape");
    let numbers = |x: &Tensor| -> Vec<f64> {
        x.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    };
    let (found, expected) = (numbers(found), numbers(expected));
    (found.iter().zip(&expected).map(|(a, b)| a - b).collect(), expected)
}

#[track_caller]
pub fn assert_close(what: &str, found: &Tensor, expected: &Tensor, tolerance: f64) {
    let (difference, _) = difference(found, expected, what);
    let largest =
        difference.into_iter().fold(0.0_f64, |a, x| if x.is_nan() { x } else { a.max(x.abs()) });
    assert!(largest <= tolerance, "{what}: off by {largest:.2e}, allowed {tolerance:.0e}");
}

/// The distance of two tensors over the size of the second.
fn relative(what: &str, found: &Tensor, expected: &Tensor) -> f64 {
    let (difference, expected) = difference(found, expected, what);
    let norm = |x: &[f64]| x.iter().map(|x| x * x).sum::<f64>().sqrt();
    norm(&difference) / norm(&expected)
}

#[track_caller]
pub fn assert_relative(what: &str, found: &Tensor, expected: &Tensor, tolerance: f64) {
    let off = relative(what, found, expected);
    assert!(off <= tolerance, "{what}: off by {off:.2e}");
}
