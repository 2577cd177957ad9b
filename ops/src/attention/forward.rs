use super::{Attend, BLOCK, Heads, whole};
use crate::gemm::{Kernel, Straight, Transposed, gemm_local, pack_all};
use crate::matrix::{Rows, RowsMut, SharedMut};
use crate::parallel::parallel;
use crate::rows::convert::convert_row;
use crate::rows::softmax::softmax_row;

/// `softmax(Q K^T / sqrt(width)) V` for every sample and head.
///
/// # Shapes
/// `qkv` `[batch * tokens, 3 * dim]`, `out` `[batch * tokens, dim]`; the result is the log-sum-exp of each row of
/// scores, `[batch, heads, tokens]`.
pub(crate) fn forward<T: Attend>(qkv: Rows<'_, T>, heads: Heads, out: RowsMut<'_, T>) -> Vec<f32> {
    assert!(qkv.rows() == heads.rows() && qkv.cols() == 3 * heads.dim());
    assert!(out.rows() == heads.rows() && out.cols() == heads.dim());
    let tokens = heads.tokens;
    let mut log_sums = vec![0.0; heads.batch * heads.heads * tokens];
    let shared = SharedMut::new(&mut log_sums);
    parallel(heads.batch * heads.heads, |task| {
        let (first, col) = (task / heads.heads * tokens, task % heads.heads * heads.width);
        let part = |which| qkv.part(first, tokens, which * heads.dim() + col, heads.width);
        let out = out.part(first, tokens, col, heads.width);
        // SAFETY: each task has its own part.
        let log_sums = unsafe { shared.part(task * tokens, (task + 1) * tokens) };
        one_head([part(0), part(1), part(2)], heads, out, log_sums);
    });
    log_sums
}

fn one_head<T: Attend>(
    [query, key, value]: [Rows<'_, T>; 3],
    heads: Heads,
    out: RowsMut<'_, T>,
    log_sums: &mut [f32],
) {
    let kernel = Kernel::<T>::current();
    let (tokens, width) = (heads.tokens, heads.width);
    let (block, stride, out_stride) = (heads.block(kernel), whole(tokens), whole(width));
    T::with_scratch(|scratch| {
        let [keys, values, ..] = &mut scratch.0.panels;
        let [scores, mixed, ..] = &mut scratch.0.sums;
        let scores = scores.room(block * stride);
        let mixed = mixed.room(block * out_stride);
        let weights = scratch.0.weights[0].room(block * stride);
        pack_all::<T>(&Transposed(key), keys);
        pack_all::<T>(&Straight(value), values);
        let _session = kernel.session();
        for start in (0..tokens).step_by(block) {
            let rows = (tokens - start).min(block);
            let query = query.part(start, rows, 0, width);
            gemm_local(kernel, query, keys, tokens, scores, stride, false);
            let mut shares = [0.0; BLOCK];
            for row in 0..rows {
                let scores = &mut scores[row * stride..][..tokens];
                let weights = &mut weights[row * stride..][..tokens];
                (shares[row], log_sums[start + row]) = softmax_row(scores, heads.scale(), weights);
            }
            let weights = Rows::new(weights, rows, tokens, stride);
            gemm_local(kernel, weights, values, width, mixed, out_stride, false);
            for row in 0..rows {
                // SAFETY: these rows and columns are this task's alone.
                let out = unsafe { out.row(start + row, 0, width) };
                convert_row(&mixed[row * out_stride..][..width], shares[row], out);
            }
        }
    });
}
