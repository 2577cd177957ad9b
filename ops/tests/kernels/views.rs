//! Operands and gradients that do not lie in one piece, or not at the start of their storage.

use candle_core::{Result, Tensor};
use longmae_ops::{
    attention, gather_tokens, gelu, layer_norm, linear, matmul, pixel_loss, prepend_class,
    reference, restore_tokens,
};

use super::common::{Draw, FP32, assert_all_near, ids, oracle, random, run, within};

/// The same values in another layout.
type View = fn(&Tensor) -> Result<Tensor>;

fn turned(x: &Tensor) -> Result<Tensor> {
    match x.rank() {
        0 | 1 => Ok(x.clone()),
        rank => x.transpose(rank - 2, rank - 1)?.contiguous()?.transpose(rank - 2, rank - 1),
    }
}

fn off_the_start(x: &Tensor) -> Result<Tensor> {
    match x.rank() {
        0 => Ok(x.clone()),
        _ => Tensor::cat(&[x, x, x], 0)?.narrow(0, x.dim(0)?, x.dim(0)?),
    }
}

fn off_the_side(x: &Tensor) -> Result<Tensor> {
    match x.rank() {
        0 => Ok(x.clone()),
        rank => {
            Tensor::cat(&[x, x], rank - 1)?.narrow(rank - 1, x.dim(rank - 1)?, x.dim(rank - 1)?)
        }
    }
}

/// Every input and the output as views.
fn check(
    what: &str,
    inputs: &[Tensor],
    fused: impl Fn(&[Tensor]) -> Result<Tensor>,
    plain: impl Fn(&[Tensor]) -> Result<Tensor>,
) {
    let expected = oracle(Draw::Full, inputs, plain);
    for view in [turned as View, off_the_start, off_the_side] {
        let found = run(Draw::Full, inputs, |x| {
            let views = x.iter().map(view).collect::<Result<Vec<_>>>()?;
            view(&fused(&views)?)
        });
        assert_all_near(what, &found.unwrap(), &expected, within(1e-6, 1e-6));
    }
}

#[test]
fn products() {
    let inputs = [random((2, 5, 7), 1), random((3, 7), 2), random(3, 3)];
    let fused = |x: &[Tensor]| linear(&x[0], &x[1], Some(&x[2]), FP32);
    check("linear", &inputs, fused, |x| reference::linear(&x[0], &x[1], Some(&x[2])));
    let inputs = [random((5, 7), 1), random((7, 3), 2)];
    check("matmul", &inputs, |x| matmul(&x[0], &x[1], FP32), |x| x[0].matmul(&x[1]));
    let inputs = [random((2, 5, 3 * 6), 1)];
    check("attention", &inputs, |x| attention(&x[0], 2, FP32), |x| reference::attention(&x[0], 2));
}

#[test]
fn rows() {
    let inputs = [random((2, 5, 7), 1), random(7, 2), random(7, 3)];
    let fused = |x: &[Tensor]| layer_norm(&x[0], &x[1], &x[2], 1e-2, FP32);
    check("norm", &inputs, fused, |x| reference::layer_norm(&x[0], &x[1], &x[2], 1e-2));
    check("gelu", &[random((2, 5, 7), 1)], |x| gelu(&x[0], FP32), |x| x[0].gelu_erf());
    let (patches, weights) = (random((2, 5, 7), 2), random((2, 5), 3).abs().unwrap());
    for view in [turned as View, off_the_start, off_the_side] {
        let fused =
            |x: &[Tensor]| pixel_loss(&x[0], &view(&patches)?, &view(&weights)?, true, FP32);
        check("loss", &[random((2, 5, 7), 1)], fused, |x| {
            let [patches, weights] = [&patches, &weights].map(|y| y.to_dtype(x[0].dtype()));
            reference::pixel_loss(&x[0], &patches?, &weights?, true)
        });
    }
}

#[test]
fn tokens() {
    let order = ids(&[vec![2, 0, 1], vec![1, 2, 0]]);
    let positions = random((1, 4, 5), 3);
    for view in [turned as View, off_the_start, off_the_side] {
        let (seen, places) = (view(&order).unwrap(), view(&positions).unwrap());
        let wide = |x: &Tensor| positions.to_dtype(x.dtype());
        let inputs = [random((2, 3, 5), 1)];
        let fused = |x: &[Tensor]| gather_tokens(&x[0], &seen, FP32);
        check("gather", &inputs, fused, |x| reference::gather_tokens(&x[0], &order));
        let inputs = [random((2, 3, 5), 1), random((1, 1, 5), 2)];
        let fused = |x: &[Tensor]| prepend_class(&x[0], &x[1], &places, Some(&seen), FP32);
        let plain =
            |x: &[Tensor]| reference::prepend_class(&x[0], &x[1], &wide(&x[0])?, Some(&order));
        check("prepend", &inputs, fused, plain);
        let fused = |x: &[Tensor]| restore_tokens(&x[0], &x[1], &seen, Some(&places), FP32);
        let plain =
            |x: &[Tensor]| reference::restore_tokens(&x[0], &x[1], &order, Some(&wide(&x[0])?));
        check("restore", &inputs, fused, plain);
    }
}
