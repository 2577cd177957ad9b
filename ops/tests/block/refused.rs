//! What the block refuses.

use candle_core::{DType, Device, Tensor, Var};
use longmae_ops::{BlockWeights, QkvBias, transformer_block};

use super::common::block::{SMALL, Scales, Sizes};
use super::common::{FP32, random};

fn refusal(x: &Tensor, weights: &BlockWeights, scales: Option<Scales>) -> String {
    transformer_block(x, weights, scales, FP32).expect_err("a refusal").to_string()
}

fn both_biases() -> [Sizes; 2] {
    [SMALL, SMALL.without_key_bias()]
}

#[test]
fn weights_computed_from_variables() {
    for sizes in both_biases() {
        for i in 0..sizes.tensors().len() {
            let mut tensors = sizes.tensors();
            let var = Var::from_tensor(&tensors[i]).unwrap();
            tensors[i] = (var.as_tensor() * 1.0).unwrap();
            let error = refusal(&sizes.x(), &sizes.weights(&tensors), None);
            assert!(error.contains("computed from variables"), "{error}");
        }
    }
}

#[test]
fn weights_of_another_shape() {
    for sizes in both_biases() {
        for i in 0..sizes.tensors().len() {
            let mut tensors = sizes.tensors();
            tensors[i] = Tensor::cat(&[&tensors[i], &tensors[i]], 0).unwrap();
            refusal(&sizes.x(), &sizes.weights(&tensors), None);
            tensors[i] = sizes.tensors()[i].unsqueeze(0).unwrap();
            refusal(&sizes.x(), &sizes.weights(&tensors), None);
        }
    }
    let mut weights = SMALL.weights(&SMALL.tensors());
    weights.qkv_bias = QkvBias::Full(random(SMALL.dim, 1));
    refusal(&SMALL.x(), &weights, None);
}

#[test]
fn numbers_of_another_type() {
    for sizes in both_biases() {
        let wide = |tensor: &Tensor| tensor.to_dtype(DType::F64).unwrap();
        refusal(&wide(&sizes.x()), &sizes.weights(&sizes.tensors()), None);
        for i in 0..sizes.tensors().len() {
            let mut tensors = sizes.tensors();
            tensors[i] = wide(&tensors[i]);
            refusal(&sizes.x(), &sizes.weights(&tensors), None);
        }
    }
}

#[test]
fn heads_that_do_not_divide_the_width() {
    for heads in [0, 5, 7, 48] {
        let weights = Sizes { heads, ..SMALL }.weights(&SMALL.tensors());
        refusal(&SMALL.x(), &weights, None);
    }
}

#[test]
fn tokens_of_another_shape() {
    let weights = SMALL.weights(&SMALL.tensors());
    let Sizes { batch, tokens, dim, .. } = SMALL;
    refusal(&random((batch, tokens, dim + 1), 1), &weights, None);
    refusal(&random((tokens, dim), 1), &weights, None);
    refusal(&random((1, batch, tokens, dim), 1), &weights, None);
}

#[test]
fn drop_path_of_another_number_of_samples() {
    let weights = SMALL.weights(&SMALL.tensors());
    let fits = vec![1.0; SMALL.batch];
    for wrong in [vec![], vec![1.0; SMALL.batch - 1], vec![1.0; SMALL.batch + 1]] {
        refusal(&SMALL.x(), &weights, Some([wrong.clone(), fits.clone()]));
        refusal(&SMALL.x(), &weights, Some([fits.clone(), wrong]));
    }
}

#[test]
fn no_tokens_are_no_error() {
    let weights = SMALL.weights(&SMALL.tensors());
    for (batch, tokens) in [(0, 3), (2, 0)] {
        let shape = (batch, tokens, SMALL.dim);
        let x = Var::zeros(shape, DType::F32, &Device::Cpu).unwrap();
        let out = transformer_block(&x, &weights, None, FP32).unwrap();
        assert_eq!(out.dims(), x.dims());
        let gradients = longmae_ops::backward(&out.sum_all().unwrap()).unwrap();
        assert_eq!(gradients.get(&x).unwrap().dims(), x.dims());
    }
}
