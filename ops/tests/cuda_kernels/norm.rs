//! Layer norm against the plain one in f64.

use candle_core::Tensor;
use half::bf16;
use longmae_ops::reference;

use crate::buffer::{Buffer, Number};
use crate::common::{Draw, Tolerance, assert_all_near, assert_near, oracle, within};
use crate::emulator::Emulator;
use crate::orders::on_kernels;

const EPS: f32 = 1e-6;
const ROWS_PER_CHUNK: usize = 5;

/// The result, and the gradients of `x` (beside `add`), weight and bias.
fn norm<T: Number>(
    e: &Emulator,
    suffix: &str,
    inputs: &[Tensor],
    dy: &Tensor,
    add: Option<&Tensor>,
) -> Vec<Tensor> {
    let (rows, dim) = inputs[0].dims2().unwrap();
    let [x, weight, bias] = [0, 1, 2].map(|i| Buffer::<f32>::from(&inputs[i]));
    let (out, moments) = (Buffer::<T>::unset(rows * dim), Buffer::<f32>::unset(rows * 2));
    let sizes = (rows as i32, dim as i32);
    let grid = [rows.div_ceil(4), 1, 1];
    let arguments =
        (x.pointer(), weight.pointer(), bias.pointer(), out.pointer(), moments.pointer());
    let (a, b, c, d, f) = arguments;
    e.launch(&format!("norm_forward_{suffix}"), grid, 128, (a, b, c, d, f, sizes.0, sizes.1, EPS));

    let (dy, dx) = (Buffer::<T>::from(dy), Buffer::<f32>::unset(rows * dim));
    let add = add.map(Buffer::<f32>::from);
    let add = add.as_ref().map_or(std::ptr::null_mut(), Buffer::pointer);
    let arguments = (a, b, moments.pointer(), dy.pointer(), add, dx.pointer(), sizes.0, sizes.1);
    e.launch(&format!("norm_backward_{suffix}"), grid, 128, arguments);

    let chunks = rows.div_ceil(ROWS_PER_CHUNK);
    let (partial, sums) = (Buffer::<f32>::unset(chunks * 2 * dim), Buffer::<f32>::unset(2 * dim));
    let chunk = ROWS_PER_CHUNK as i32;
    let arguments =
        (a, moments.pointer(), dy.pointer(), partial.pointer(), sizes.0, sizes.1, chunk);
    e.launch(&format!("norm_parameters_{suffix}"), [dim.div_ceil(128), chunks, 1], 128, arguments);
    let arguments = (partial.pointer(), sums.pointer(), chunks as i32, 2 * dim as i32, 0);
    e.launch("column_finish", [(2 * dim).div_ceil(32), 1, 1], 256, arguments);
    let sums = sums.tensor((2, dim));
    let of = |row| sums.get(row).unwrap();
    vec![out.tensor((rows, dim)), dx.tensor((rows, dim)), of(0), of(1)]
}

#[test]
fn norm_and_its_gradients() {
    for (rows, dim) in [(1, 1), (2, 3), (5, 32), (7, 130), (13, 768), (2, 8192)] {
        let inputs = [
            ((Draw::Rounded.tensor((rows, dim), 1) + 0.5).unwrap() * 2.0).unwrap(),
            Draw::Rounded.tensor(dim, 2),
            Draw::Rounded.tensor(dim, 3),
        ];
        let expected = oracle(Draw::Rounded, &inputs, |x| {
            reference::layer_norm(&x[0], &x[1], &x[2], f64::from(EPS))
        });
        let dy = Draw::Rounded.tensor((rows, dim), 99);
        let what = format!("norm of {rows} rows of {dim}");
        // A row of one number has no variance: its gradient is a difference of what is divided by the root of eps.
        let exact = if dim == 1 { within(1e-6, 1e-3) } else { within(3e-6, 2e-6) };
        let Some(found) = on_kernels(|e| norm::<f32>(e, "f32", &inputs, &dy, None)) else { return };
        assert_all_near(&what, &found, &expected, exact);
        let found = on_kernels(|e| norm::<bf16>(e, "bf16", &inputs, &dy, None)).unwrap();
        let rounded: Tolerance = within(3e-3, 0.0);
        assert_all_near(&format!("{what} in bf16"), &found[..1], &expected[..1], rounded);
        assert_all_near(&format!("{what} in bf16"), &found[1..], &expected[1..], exact);
    }
}

#[test]
fn a_gradient_is_added_to_another() {
    let inputs =
        [Draw::Full.tensor((6, 36), 1), Draw::Full.tensor(36, 2), Draw::Full.tensor(36, 3)];
    let (dy, add) = (Draw::Full.tensor((6, 36), 4), Draw::Full.tensor((6, 36), 5));
    let Some(alone) = on_kernels(|e| norm::<f32>(e, "f32", &inputs, &dy, None)) else { return };
    let both = on_kernels(|e| norm::<f32>(e, "f32", &inputs, &dy, Some(&add))).unwrap();
    assert_near("sum", &both[1], &(&alone[1] + &add).unwrap(), within(1e-6, 0.0));
}
