//! Sums of columns.

use candle_core::Tensor;
use half::bf16;

use crate::buffer::{Buffer, Number};
use crate::common::{Draw, assert_near, within};
use crate::emulator::Emulator;
use crate::orders::on_kernels;

fn column_sums<T: Number>(
    e: &Emulator,
    suffix: &str,
    x: &Tensor,
    chunk: usize,
    before: Option<f32>,
) -> Vec<Tensor> {
    let (rows, cols) = x.dims2().unwrap();
    let (x, chunks) = (Buffer::<T>::from(x), rows.div_ceil(chunk));
    let partial = Buffer::<f32>::unset(chunks * cols);
    let arguments = (x.pointer(), partial.pointer(), rows as i32, cols as i32, chunk as i32);
    e.launch(&format!("column_partials_{suffix}"), [cols.div_ceil(128), chunks, 1], 128, arguments);
    let out = match before {
        Some(before) => Buffer::<f32>::of(vec![before; cols]),
        None => Buffer::unset(cols),
    };
    let accumulate = i32::from(before.is_some());
    let arguments = (partial.pointer(), out.pointer(), chunks as i32, cols as i32, accumulate);
    e.launch("column_finish", [cols.div_ceil(32), 1, 1], 256, arguments);
    vec![out.tensor(cols)]
}

#[test]
fn columns_are_summed_over_all_rows() {
    for (rows, cols, chunk) in [(1, 1, 4), (9, 33, 4), (100, 130, 3), (64, 7, 64)] {
        let x = Draw::Rounded.tensor((rows, cols), 1);
        let sum = x.sum(0).unwrap();
        let what = format!("{rows} rows of {cols}");
        let Some(found) = on_kernels(|e| column_sums::<f32>(e, "f32", &x, chunk, None)) else {
            return;
        };
        assert_near(&what, &found[0], &sum, within(1e-6, 1e-6));
        let found = on_kernels(|e| column_sums::<bf16>(e, "bf16", &x, chunk, Some(0.5))).unwrap();
        assert_near(
            &format!("{what} in bf16"),
            &found[0],
            &(sum + 0.5).unwrap(),
            within(1e-6, 1e-6),
        );
    }
}
