use super::{Attend, Heads, Scratch, whole};
use crate::gemm::{Kernel, Straight, Transposed, gemm_local, pack_all, transpose};
use crate::matrix::{Rows, RowsMut};
use crate::parallel::parallel;
use crate::rows::convert::convert_row;
use crate::rows::softmax::{dot, softmax_backward_row};

/// What the forward pass left, and the gradient of its result.
pub(crate) struct Given<'a, T> {
    pub qkv: Rows<'a, T>,
    pub out: Rows<'a, T>,
    pub log_sums: &'a [f32],
    pub gradient: Rows<'a, T>,
}

/// The gradient of queries, keys and values, `[batch * tokens, 3 * dim]`.
pub(crate) fn backward<T: Attend>(given: &Given<'_, T>, heads: Heads, out: RowsMut<'_, T>) {
    let (tokens, dim) = (heads.tokens, heads.dim());
    assert!(given.qkv.rows() == heads.rows() && given.qkv.cols() == 3 * dim);
    assert!(out.rows() == heads.rows() && out.cols() == 3 * dim);
    assert_eq!(given.log_sums.len(), heads.batch * heads.heads * tokens);
    parallel(heads.batch * heads.heads, |task| {
        let (first, col) = (task / heads.heads * tokens, task % heads.heads * heads.width);
        let qkv = |which| given.qkv.part(first, tokens, which * dim + col, heads.width);
        let head = Head {
            qkv: [qkv(0), qkv(1), qkv(2)],
            out: given.out.part(first, tokens, col, heads.width),
            gradient: given.gradient.part(first, tokens, col, heads.width),
            log_sums: &given.log_sums[task * tokens..][..tokens],
        };
        let to = |which| out.part(first, tokens, which * dim + col, heads.width);
        T::with_scratch(|scratch| head.backward(heads, &mut scratch.0, [to(0), to(1), to(2)]));
    });
}

/// One head of one sample.
struct Head<'a, T> {
    qkv: [Rows<'a, T>; 3],
    out: Rows<'a, T>,
    gradient: Rows<'a, T>,
    log_sums: &'a [f32],
}

impl<T: Attend> Head<'_, T> {
    /// In blocks of keys, everything transposed: a row belongs to a key and a column to a query. That way keys' and
    /// values' gradients are finished block by block, and only the queries' are summed over blocks.
    fn backward(&self, heads: Heads, scratch: &mut Scratch<T>, to: [RowsMut<'_, T>; 3]) {
        let kernel = Kernel::<T>::current();
        let (tokens, width) = (heads.tokens, heads.width);
        let (block, stride, out_stride) = (heads.block(kernel), whole(tokens), whole(width));
        let [query, key, value] = self.qkv;
        let [queries_t, gradients_t, queries, gradients, slopes_packed] = &mut scratch.panels;
        pack_all::<T>(&Transposed(query), queries_t);
        pack_all::<T>(&Transposed(self.gradient), gradients_t);
        pack_all::<T>(&Straight(query), queries);
        pack_all::<T>(&Straight(self.gradient), gradients);
        let [scores, weight_gradients, sums, query_sums, deltas] = &mut scratch.sums;
        let scores = scores.room(block * stride);
        let weight_gradients = weight_gradients.room(block * stride);
        let sums = sums.room((block * out_stride).max(tokens * width));
        let query_sums = query_sums.room(whole(width) * stride);
        let deltas = deltas.room(tokens);
        let [weights, slopes, keys_t] = &mut scratch.weights;
        let weights = weights.room(block * stride);
        let slopes = slopes.room(block * stride);
        for (row, delta) in deltas.iter_mut().enumerate() {
            *delta = dot(self.out.row(row), self.gradient.row(row));
        }
        let _session = kernel.session();
        for start in (0..tokens).step_by(block) {
            let rows = (tokens - start).min(block);
            let keys = key.part(start, rows, 0, width);
            let values = value.part(start, rows, 0, width);
            gemm_local(kernel, keys, queries_t, tokens, scores, stride, false);
            gemm_local(kernel, values, gradients_t, tokens, weight_gradients, stride, false);
            for row in 0..rows {
                let at = row * stride;
                softmax_backward_row(
                    &scores[at..][..tokens],
                    &weight_gradients[at..][..tokens],
                    self.log_sums,
                    deltas,
                    heads.scale(),
                    &mut weights[at..][..tokens],
                    &mut slopes[at..][..tokens],
                );
            }
            let weights = Rows::new(weights, rows, tokens, stride);
            let slopes = Rows::new(slopes, rows, tokens, stride);
            for (from, panels, to) in [(slopes, &*queries, to[1]), (weights, &*gradients, to[2])] {
                gemm_local(kernel, from, panels, width, sums, out_stride, false);
                put(sums, out_stride, to.part(start, rows, 0, width));
            }
            let keys_t = keys_t.room(width * block);
            transpose(keys, RowsMut::new(keys_t, width, rows, block));
            pack_all::<T>(&Straight(slopes), slopes_packed);
            let keys_t = Rows::new(keys_t, width, rows, block);
            gemm_local(kernel, keys_t, slopes_packed, tokens, query_sums, stride, start > 0);
        }
        let turned = &mut sums[..tokens * width];
        transpose(
            Rows::new(query_sums, width, tokens, stride),
            RowsMut::dense(turned, tokens, width),
        );
        put(turned, width, to[0]);
    }
}

/// Writes f32 rows into a head's columns.
fn put<T: Attend>(from: &[f32], stride: usize, to: RowsMut<'_, T>) {
    for row in 0..to.rows() {
        // SAFETY: these rows and columns are this task's alone.
        let to = unsafe { to.row(row, 0, to.cols()) };
        convert_row(&from[row * stride..][..to.len()], 1.0, to);
    }
}
