use super::{Attend, BLOCK, Grid, Heads, Positions, Scratch, whole};
use crate::gemm::{Kernel, Straight, Transposed, gemm_local, pack_all};
use crate::matrix::{Rows, RowsMut, SharedMut};
use crate::parallel::parallel;
use crate::rows::convert::convert_row;
use crate::rows::softmax::softmax_row;

/// `softmax(Q K^T / sqrt(width)) V` for every sample and head; in windows and with relative positions if a grid says so.
///
/// # Shapes
/// `qkv` `[batch * tokens, 3 * dim]`, `out` `[batch * tokens, dim]`; the result is the log-sum-exp of each row of
/// scores, `[batch, windows, heads, tokens of one]`.
pub(crate) fn forward<T: Attend>(
    qkv: Rows<'_, T>,
    heads: Heads,
    grid: Option<&Grid<T>>,
    out: RowsMut<'_, T>,
) -> Vec<f32> {
    assert!(qkv.rows() == heads.rows() && qkv.cols() == 3 * heads.dim());
    assert!(out.rows() == heads.rows() && out.cols() == heads.dim());
    let each = Grid::heads(grid, heads);
    let (tokens, width) = (each.tokens, heads.width);
    let positions = grid.and_then(|grid| grid.positions.as_ref());
    let mut log_sums = vec![0.0; each.batch * heads.heads * tokens];
    let shared = SharedMut::new(&mut log_sums);
    parallel(each.batch * heads.heads, |task| {
        let (part, col) = (task / heads.heads, task % heads.heads * width);
        let (sample, window) = (part * heads.batch / each.batch, part % (each.batch / heads.batch));
        let first = sample * heads.tokens;
        let given = |which| qkv.part(first, heads.tokens, which * heads.dim() + col, width);
        let out = out.part(first, heads.tokens, col, width);
        // SAFETY: each task has its own part.
        let log_sums = unsafe { shared.part(task * tokens, (task + 1) * tokens) };
        T::with_scratch(|scratch| match grid.and_then(|grid| grid.windows.zip(Some(grid))) {
            None => {
                let given = [given(0), given(1), given(2)];
                one_head(given, each, positions, &mut scratch.head, out, log_sums);
            }
            Some((windows, grid)) => {
                let [query, key, value, mixed, ..] =
                    scratch.gathered.each_mut().map(|room| room.room(tokens * width));
                for (which, to) in [&mut *query, &mut *key, &mut *value].into_iter().enumerate() {
                    let padding = &grid.padding[which * heads.dim() + col..][..width];
                    windows.gather(window, given(which), padding, to);
                }
                let rows = |x| Rows::dense(x, tokens, width);
                let given = [rows(query), rows(key), rows(value)];
                let to = RowsMut::dense(mixed, tokens, width);
                one_head(given, each, positions, &mut scratch.head, to, log_sums);
                windows.scatter(window, mixed, out, None);
            }
        });
    });
    log_sums
}

fn one_head<T: Attend>(
    [query, key, value]: [Rows<'_, T>; 3],
    heads: Heads,
    positions: Option<&Positions<T>>,
    scratch: &mut Scratch<T>,
    out: RowsMut<'_, T>,
    log_sums: &mut [f32],
) {
    let kernel = Kernel::<T>::current();
    let (tokens, width) = (heads.tokens, heads.width);
    let (block, stride, out_stride) = (heads.block(kernel), whole(tokens), whole(width));
    let [keys, values, ..] = &mut scratch.panels;
    let [scores, mixed, ..] = &mut scratch.sums;
    let scores = scores.room(block * stride);
    let mixed = mixed.room(block * out_stride);
    let weights = scratch.weights[0].room(block * stride);
    pack_all::<T>(&Transposed(key), keys);
    pack_all::<T>(&Straight(value), values);
    let _session = kernel.session();
    for start in (0..tokens).step_by(block) {
        let rows = (tokens - start).min(block);
        let query = query.part(start, rows, 0, width);
        gemm_local(kernel, query, keys, tokens, scores, stride, false);
        if let Some(positions) = positions {
            let scores = (&mut *scores, stride);
            let room = &mut scratch.positions[0];
            positions.add(kernel, query, start, heads.scale(), scores, room);
        }
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
}
