//! GELU and what is scaled sample by sample, against the formulas in f64.

use candle_core::Tensor;
use half::bf16;

use crate::buffer::{Buffer, Number};
use crate::common::{Draw, Tolerance, assert_all_near, oracle, within};
use crate::emulator::Emulator;
use crate::orders::on_kernels;

const EXACT: Tolerance = within(5e-7, 1e-7);
const ROUNDED: Tolerance = within(3e-3, 0.0);
const SIZES: [usize; 5] = [1, 3, 4, 255, 3001];

fn gelu<T: Number>(emulator: &Emulator, suffix: &str, x: &Tensor, dy: &Tensor) -> Vec<Tensor> {
    let n = x.elem_count();
    let (before, after) = (Buffer::<T>::from(x), Buffer::<T>::unset(n));
    let slope = Buffer::<T>::from(dy);
    let grid = [n.div_ceil(1024), 1, 1];
    let forward = (before.pointer(), after.pointer(), n);
    emulator.launch(&format!("gelu_forward_{suffix}"), grid, 256, forward);
    let backward = (before.pointer(), slope.pointer(), n);
    emulator.launch(&format!("gelu_backward_{suffix}"), grid, 256, backward);
    vec![after.tensor(n), slope.tensor(n)]
}

#[test]
fn gelu_is_the_exact_one() {
    for n in SIZES {
        let x = Draw::Rounded.tensor(n, 1);
        let expected = oracle(Draw::Rounded, std::slice::from_ref(&x), |x| x[0].gelu_erf());
        let dy = Draw::Rounded.tensor(n, 99);
        let Some(found) = on_kernels(|e| gelu::<f32>(e, "f32", &x, &dy)) else { return };
        assert_all_near(&format!("gelu of {n}"), &found, &expected, EXACT);
        let found = on_kernels(|e| gelu::<bf16>(e, "bf16", &x, &dy)).unwrap();
        assert_all_near(&format!("gelu of {n} in bf16"), &found, &expected, ROUNDED);
    }
}

fn scaled(emulator: &Emulator, x: &Tensor, y: &Tensor, scales: Option<&Tensor>) -> Vec<Tensor> {
    let (samples, per_sample) = x.dims2().unwrap();
    let n = samples * per_sample;
    let (x, y) = (Buffer::<f32>::from(x), Buffer::<f32>::from(y));
    let scales = scales.map(Buffer::<f32>::from);
    let scales = scales.as_ref().map_or(std::ptr::null_mut(), Buffer::pointer);
    let (sum, cast, rounded) =
        (Buffer::<f32>::unset(n), Buffer::<f32>::unset(n), Buffer::<bf16>::unset(n));
    let grid = [n.div_ceil(1024), 1, 1];
    let arguments = (x.pointer(), y.pointer(), scales, sum.pointer(), n, per_sample);
    emulator.launch("residual_scaled", grid, 256, arguments);
    emulator.launch(
        "scale_cast_f32",
        grid,
        256,
        (y.pointer(), scales, cast.pointer(), n, per_sample),
    );
    emulator.launch(
        "scale_cast_bf16",
        grid,
        256,
        (y.pointer(), scales, rounded.pointer(), n, per_sample),
    );
    [sum.tensor(n), cast.tensor(n), rounded.tensor(n)].into()
}

#[test]
fn every_sample_has_its_factor() {
    for per_sample in [1, 7, 8, 500] {
        let shape = (3, per_sample);
        let (x, y) = (Draw::Full.tensor(shape, 1), Draw::Full.tensor(shape, 2));
        let scales = Tensor::new(&[1.25_f32, 0.0, 1.5], x.device()).unwrap();
        for scales in [Some(&scales), None] {
            let Some(found) = on_kernels(|e| scaled(e, &x, &y, scales)) else { return };
            let branch =
                scales.map_or(y.clone(), |s| y.broadcast_mul(&s.reshape((3, 1)).unwrap()).unwrap());
            let branch = branch.flatten_all().unwrap();
            let sum = (x.flatten_all().unwrap() + &branch).unwrap();
            let what = format!("{per_sample} numbers a sample");
            assert_all_near(&what, &found[..2], &[sum, branch.clone()], within(1e-7, 0.0));
            assert_all_near(&what, &found[2..], &[branch], ROUNDED);
        }
    }
}
