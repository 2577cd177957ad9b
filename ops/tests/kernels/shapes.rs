//! Shapes and types that do not fit are errors, and empty tensors are none.

use candle_core::{DType, Device, Result, Shape, Tensor};
use longmae_ops::{
    attention, gather_tokens, gelu, layer_norm, linear, matmul, pixel_loss, prepend_class,
    restore_tokens,
};

use super::common::{BF16, Draw, FP32, ids, numbers, run};

type Op<'a> = &'a dyn Fn(&[Tensor]) -> Result<Tensor>;

fn zeros(shape: impl Into<Shape>) -> Tensor {
    Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap()
}

fn doubles(shape: impl Into<Shape>) -> Tensor {
    Tensor::zeros(shape, DType::F64, &Device::Cpu).unwrap()
}

fn assert_refused(results: impl IntoIterator<Item = Result<Tensor>>) {
    for (i, result) in results.into_iter().enumerate() {
        assert!(result.is_err(), "case {i} gave {:?}", result.map(|x| x.shape().clone()));
    }
}

#[test]
fn products_that_do_not_fit() {
    for compute in [FP32, BF16] {
        let (x, weight, bias) = (zeros((5, 3)), zeros((4, 3)), zeros(4));
        assert_refused([
            linear(&zeros((5, 2)), &weight, Some(&bias), compute),
            linear(&zeros(()), &weight, Some(&bias), compute),
            linear(&x, &zeros(3), None, compute),
            linear(&x, &zeros((1, 4, 3)), None, compute),
            linear(&x, &weight, Some(&zeros(3)), compute),
            linear(&x, &weight, Some(&zeros((1, 4))), compute),
            linear(&x, &weight, Some(&zeros(())), compute),
            linear(&doubles((5, 3)), &weight, Some(&bias), compute),
            linear(&x, &doubles((4, 3)), Some(&bias), compute),
            linear(&x, &weight, Some(&doubles(4)), compute),
            matmul(&x, &zeros((4, 3)), compute),
            matmul(&x, &zeros(3), compute),
            matmul(&x, &zeros((1, 3, 4)), compute),
            matmul(&zeros(()), &zeros((3, 4)), compute),
            attention(&zeros((5, 9)), 1, compute),
            attention(&zeros((1, 5, 9)), 0, compute),
            attention(&zeros((1, 5, 9)), 2, compute),
            attention(&zeros((1, 5, 8)), 1, compute),
            attention(&zeros((1, 5, 0)), 1, compute),
            attention(&doubles((1, 5, 9)), 1, compute),
        ]);
    }
}

#[test]
fn rows_that_do_not_fit() {
    let (x, vector) = (zeros((2, 3, 5)), zeros(5));
    let (patches, weights) = (zeros((2, 3, 4)), zeros((2, 3)));
    let loss = |pred, patches, weights| pixel_loss(pred, patches, weights, true, FP32);
    assert_refused([
        layer_norm(&x, &zeros(4), &vector, 1e-6, FP32),
        layer_norm(&x, &vector, &zeros(4), 1e-6, FP32),
        layer_norm(&x, &zeros((1, 5)), &vector, 1e-6, FP32),
        layer_norm(&zeros(()), &vector, &vector, 1e-6, FP32),
        layer_norm(&doubles((2, 3, 5)), &vector, &vector, 1e-6, FP32),
        layer_norm(&x, &doubles(5), &vector, 1e-6, FP32),
        gelu(&doubles(3), FP32),
        gelu(&Tensor::zeros(3, DType::U32, &Device::Cpu).unwrap(), FP32),
        loss(&zeros((2, 2, 4)), &patches, &weights),
        loss(&zeros((1, 3, 4)), &patches, &weights),
        loss(&zeros((2, 3, 5)), &patches, &weights),
        loss(&zeros((3, 4)), &patches, &weights),
        loss(&patches, &zeros((3, 4)), &weights),
        loss(&patches, &patches, &zeros((3, 2))),
        loss(&patches, &patches, &zeros(6)),
        loss(&doubles((2, 3, 4)), &patches, &weights),
        loss(&patches, &doubles((2, 3, 4)), &weights),
        loss(&patches, &patches, &doubles((2, 3))),
    ]);
}

#[test]
fn choices_that_do_not_fit() {
    let tokens = zeros((2, 3, 5));
    let fits = ids(&[vec![0, 1, 2], vec![2, 1, 0]]);
    let signed = fits.to_dtype(DType::I64).unwrap();
    let gather = |tokens, ids| gather_tokens(tokens, ids, FP32);
    assert_refused([
        gather(&tokens, &ids(&[vec![0, 3], vec![0, 0]])),
        gather(&tokens, &ids(&[vec![0, u32::MAX], vec![0, 0]])),
        gather(&tokens, &ids(&[vec![0, 1]])),
        gather(&tokens, &fits.flatten_all().unwrap()),
        gather(&tokens, &signed),
        gather(&zeros((2, 3)), &fits),
        gather(&doubles((2, 3, 5)), &fits),
    ]);
}

#[test]
fn class_tokens_that_do_not_fit() {
    let (patches, class, positions) = (zeros((2, 3, 5)), zeros((1, 1, 5)), zeros((1, 4, 5)));
    let fits = ids(&[vec![0, 1, 2], vec![2, 1, 0]]);
    let prepend =
        |patches, class, positions, ids| prepend_class(patches, class, positions, ids, FP32);
    assert_refused([
        prepend(&patches, &zeros((1, 1, 4)), &positions, None),
        prepend(&patches, &class, &zeros((1, 4, 4)), None),
        prepend(&patches, &class, &zeros((1, 5, 5)), None),
        prepend(&patches, &class, &zeros((1, 0, 5)), Some(&fits)),
        prepend(&patches, &class, &zeros((1, 3, 5)), Some(&fits)),
        prepend(&patches, &class, &zeros((4, 5)), None),
        prepend(&patches, &class, &positions, Some(&ids(&[vec![0, 1], vec![0, 1]]))),
        prepend(&patches, &class, &positions, Some(&ids(&[vec![0, 1, 2]]))),
        prepend(&zeros((3, 5)), &class, &positions, None),
        prepend(&doubles((2, 3, 5)), &class, &positions, None),
        prepend(&patches, &doubles((1, 1, 5)), &positions, None),
        prepend(&patches, &class, &doubles((1, 4, 5)), None),
    ]);
}

#[test]
fn mask_tokens_that_do_not_fit() {
    let (visible, mask, positions) = (zeros((2, 3, 5)), zeros((1, 1, 5)), zeros((1, 4, 5)));
    let order = ids(&[vec![0, 1, 2], vec![2, 1, 0]]);
    let restore =
        |visible, mask, order, positions| restore_tokens(visible, mask, order, positions, FP32);
    assert_refused([
        restore(&zeros((2, 5, 5)), &mask, &order, None),
        restore(&zeros((2, 0, 5)), &mask, &order, None),
        restore(&zeros((1, 3, 5)), &mask, &order, None),
        restore(&zeros((3, 5)), &mask, &order, None),
        restore(&visible, &zeros((1, 1, 4)), &order, None),
        restore(&visible, &mask, &order, Some(&zeros((1, 3, 5)))),
        restore(&visible, &mask, &order, Some(&zeros((2, 4, 5)))),
        restore(&visible, &mask, &ids(&[vec![0, 1, 3], vec![0, 1, 2]]), Some(&positions)),
        restore(&visible, &mask, &order.flatten_all().unwrap(), None),
        restore(&doubles((2, 3, 5)), &mask, &order, None),
        restore(&visible, &doubles((1, 1, 5)), &order, None),
        restore(&visible, &mask, &order, Some(&doubles((1, 4, 5)))),
    ]);
}

/// Forward and backward give zeros of the right shapes.
fn assert_empty(what: &str, shape: &[usize], inputs: &[Tensor], found: &[Tensor]) {
    assert_eq!(found[0].dims(), shape, "{what}");
    for (gradient, input) in found[1..].iter().zip(inputs) {
        assert_eq!(gradient.dims(), input.dims(), "{what}");
    }
    assert!(found.iter().flat_map(numbers).all(|x| x == 0.0), "{what}");
}

#[test]
fn no_rows_are_no_error() {
    let check = |what: &str, shape: &[usize], inputs: &[Tensor], op: Op<'_>| {
        assert_empty(what, shape, inputs, &run(Draw::Full, inputs, op).unwrap());
    };
    for compute in [FP32, BF16] {
        let inputs = [zeros((0, 3)), zeros((4, 3)), zeros(4)];
        check("linear", &[0, 4], &inputs, &|x| linear(&x[0], &x[1], Some(&x[2]), compute));
        let op = |x: &[Tensor]| attention(&x[0], 2, compute);
        check("attention of no sample", &[0, 5, 4], &[zeros((0, 5, 12))], &op);
        check("attention of no token", &[2, 0, 4], &[zeros((2, 0, 12))], &op);
    }
    let inputs = [zeros((0, 3)), zeros(3), zeros(3)];
    check("norm", &[0, 3], &inputs, &|x| layer_norm(&x[0], &x[1], &x[2], 1e-6, FP32));
    check("gelu", &[0, 3], &[zeros((0, 3))], &|x| gelu(&x[0], FP32));
    let none = Tensor::zeros((0, 3), DType::U32, &Device::Cpu).unwrap();
    check("gather", &[0, 3, 5], &[zeros((0, 3, 5))], &|x| gather_tokens(&x[0], &none, FP32));
}

#[test]
fn no_columns_are_refused_or_right() {
    let check = |what: &str, shape: &[usize], inputs: &[Tensor], op: Op<'_>| {
        if let Ok(found) = run(Draw::Full, inputs, op) {
            assert_empty(what, shape, inputs, &found);
        }
    };
    for compute in [FP32, BF16] {
        let op = |x: &[Tensor]| linear(&x[0], &x[1], Some(&x[2]), compute);
        let inputs = [zeros((3, 5)), zeros((0, 5)), zeros(0)];
        check("linear to nothing", &[3, 0], &inputs, &op);
        let op = |x: &[Tensor]| linear(&x[0], &x[1], None, compute);
        check("linear of nothing", &[3, 4], &[zeros((3, 0)), zeros((4, 0))], &op);
    }
    let inputs = [zeros((3, 0)), zeros(0), zeros(0)];
    check("norm", &[3, 0], &inputs, &|x| layer_norm(&x[0], &x[1], &x[2], 1e-6, FP32));
    let order = ids(&[vec![0, 1]]);
    let op = |x: &[Tensor]| gather_tokens(&x[0], &order, FP32);
    check("gather", &[1, 2, 0], &[zeros((1, 2, 0))], &op);
    let op = |x: &[Tensor]| prepend_class(&x[0], &x[1], &zeros((1, 3, 0)), Some(&order), FP32);
    check("prepend", &[1, 3, 0], &[zeros((1, 2, 0)), zeros((1, 1, 0))], &op);
    let op = |x: &[Tensor]| restore_tokens(&x[0], &x[1], &order, None, FP32);
    check("restore", &[1, 3, 0], &[zeros((1, 2, 0)), zeros((1, 1, 0))], &op);
}

#[test]
fn a_loss_of_nothing_is_refused_or_nan() {
    for shape in [[0, 3, 4], [2, 0, 4], [2, 3, 0]] {
        let patches = zeros(shape.to_vec());
        let weights = Tensor::ones(&shape[..2], DType::F32, &Device::Cpu).unwrap();
        let op = |x: &[Tensor]| pixel_loss(&x[0], &patches, &weights, true, FP32);
        if let Ok(found) = run(Draw::Full, &[zeros(shape.to_vec())], op) {
            assert!(found[0].to_scalar::<f32>().unwrap().is_nan(), "{shape:?}");
        }
    }
}
