//! Single layers outside of transformer blocks.

use std::sync::Arc;

use candle_core::{DType, Result, Tensor};

use super::node;
use super::primitives::{Attended, Heads, Primitives, Product};

/// `x W^T + b` with the bias in f32, as [`linear`](crate::linear()).
pub(crate) fn linear(
    primitives: Arc<dyn Primitives>,
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
) -> Result<Tensor> {
    let (outputs, inputs) = weight.dims2()?;
    let mut shape = x.dims().to_vec();
    shape.pop();
    let rows = shape.iter().product::<usize>();
    shape.push(outputs);
    let to = primitives.operand();
    let operand = primitives.cast(&x.detach().reshape((rows, inputs))?, None, to)?;
    let added = bias.detach();
    let product = Product { transposed_b: true, bias: Some(&added), ..Product::default() };
    let packed = primitives.cast(&weight.detach(), None, to)?;
    let value = primitives.product(&operand, &packed, &product, DType::F32)?.reshape(shape)?;
    drop(packed);
    let (of_x, of_weight, of_bias) = (x.track_op(), weight.track_op(), bias.track_op());
    let (sizes, weight_value) = (x.shape().clone(), weight.detach());
    // Of the input only what a product will need is kept.
    let operand = of_weight.then_some(operand);
    node("linear", &[x, weight, bias], value, move |gradient| {
        let gradient = primitives.cast(&gradient.reshape((rows, outputs))?, None, to)?;
        let dx = of_x.then(|| {
            let weight = primitives.cast(&weight_value, None, to)?;
            let dx = primitives.product(&gradient, &weight, &Product::default(), DType::F32)?;
            dx.reshape(&sizes)
        });
        let dw = operand.as_ref().map(|x| {
            let product = Product { transposed_a: true, ..Product::default() };
            primitives.product(&gradient, x, &product, DType::F32)
        });
        let db = of_bias.then(|| primitives.column_sums(&gradient));
        Ok(vec![dx.transpose()?, dw.transpose()?, db.transpose()?])
    })
}

/// As [`layer_norm`](crate::layer_norm).
pub(crate) fn layer_norm(
    primitives: Arc<dyn Primitives>,
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    eps: f64,
) -> Result<Tensor> {
    let dim = weight.elem_count();
    let (shape, rows) = (x.shape().clone(), x.elem_count() / dim.max(1));
    let values = x.detach().reshape((rows, dim))?;
    let of_weight = weight.detach();
    let (value, moments) = primitives.norm(&values, &of_weight, &bias.detach(), eps, DType::F32)?;
    let value = value.reshape(&shape)?;
    node("layer-norm", &[x, weight, bias], value, move |gradient| {
        let gradient = gradient.reshape((rows, dim))?;
        let dx = primitives.norm_backward(&values, &of_weight, &moments, &gradient, None)?;
        let (dw, db) = primitives.norm_parameters(&values, &moments, &gradient)?;
        Ok(vec![Some(dx.reshape(&shape)?), Some(dw), Some(db)])
    })
}

/// As [`gelu`](crate::gelu()).
pub(crate) fn gelu(primitives: Arc<dyn Primitives>, x: &Tensor) -> Result<Tensor> {
    let values = x.detach();
    let value = primitives.gelu(&values)?;
    node("gelu", &[x], value, move |gradient| {
        Ok(vec![Some(primitives.gelu_backward(&values, gradient.copy()?)?)])
    })
}

/// As [`attention`](crate::attention()).
pub(crate) fn attention(
    primitives: Arc<dyn Primitives>,
    qkv: &Tensor,
    heads: Heads,
) -> Result<Tensor> {
    let (rows, dim, to) = (heads.rows(), heads.dim(), primitives.operand());
    let shape = qkv.shape().clone();
    let operand = primitives.cast(&qkv.detach().reshape((rows, 3 * dim))?, None, to)?;
    let attended = primitives.attention(&operand, heads)?;
    let value = primitives.cast(&attended.out, None, DType::F32)?;
    let value = value.reshape((heads.batch, heads.tokens, dim))?;
    node("attention", &[qkv], value, move |gradient| {
        let gradient = primitives.cast(&gradient.reshape((rows, dim))?, None, to)?;
        let Attended { out, log_sums } = &attended;
        let attended = Attended { out: out.clone(), log_sums: log_sums.clone() };
        let slopes = primitives.attention_backward(&operand, &attended, &gradient, heads)?;
        Ok(vec![Some(primitives.cast(&slopes, None, DType::F32)?.reshape(&shape)?)])
    })
}
