use super::grid::{add_both, add_to_both};
use super::{Attend, Grid, Heads, Positions, Scratch, whole};
use crate::gemm::{Kernel, Straight, Transposed, gemm_local, pack_all, transpose};
use crate::matrix::{Rows, RowsMut, SharedMut};
use crate::parallel::parallel;
use crate::rows::convert::convert_row;
use crate::rows::softmax::softmax_backward_row;
use crate::rows::sums::dot;

/// What the forward pass left, and the gradient of its result.
pub(crate) struct Given<'a, T> {
    pub qkv: Rows<'a, T>,
    pub out: Rows<'a, T>,
    pub log_sums: &'a [f32],
    pub gradient: Rows<'a, T>,
}

/// What a grid's own parts get as gradients.
pub(crate) struct Gathered {
    /// Of the table of relative positions, `[distances, width]`; empty without one.
    pub table: Vec<f32>,
    /// Of the padding's queries, keys and values, `[3 * dim]`.
    pub padding: Vec<f32>,
}

/// The gradient of queries, keys and values, `[batch * tokens, 3 * dim]`.
pub(crate) fn backward<T: Attend>(
    given: &Given<'_, T>,
    heads: Heads,
    grid: Option<&Grid<T>>,
    out: RowsMut<'_, T>,
) -> Gathered {
    let (dim, width) = (heads.dim(), heads.width);
    let each = Grid::heads(grid, heads);
    let tokens = each.tokens;
    let tasks = each.batch * heads.heads;
    assert!(given.qkv.rows() == heads.rows() && given.qkv.cols() == 3 * dim);
    assert!(out.rows() == heads.rows() && out.cols() == 3 * dim);
    assert_eq!(given.log_sums.len(), tasks * tokens);
    let positions = grid.and_then(|grid| grid.positions.as_ref());
    let windows = grid.and_then(|grid| grid.windows.zip(Some(grid)));
    // Each task has its own sums, which are then added up in order.
    let (table_len, padding_len) = (
        positions.map_or(0, |positions| positions.distances() * width),
        windows.map_or(0, |(windows, _)| if windows.padded() { 3 * width } else { 0 }),
    );
    let mut tables = vec![0.0; tasks * table_len];
    let mut paddings = vec![0.0; tasks * padding_len];
    let (shared_tables, shared_paddings) =
        (SharedMut::new(&mut tables), SharedMut::new(&mut paddings));
    parallel(tasks, |task| {
        let (part, col) = (task / heads.heads, task % heads.heads * width);
        let (sample, window) = (part * heads.batch / each.batch, part % (each.batch / heads.batch));
        let first = sample * heads.tokens;
        let qkv = |which| given.qkv.part(first, heads.tokens, which * dim + col, width);
        let mixed = given.out.part(first, heads.tokens, col, width);
        let gradient = given.gradient.part(first, heads.tokens, col, width);
        let to = |which| out.part(first, heads.tokens, which * dim + col, width);
        let log_sums = &given.log_sums[task * tokens..][..tokens];
        // SAFETY: each task has its own parts.
        let (table, padding) = unsafe {
            (
                shared_tables.part(task * table_len, (task + 1) * table_len),
                shared_paddings.part(task * padding_len, (task + 1) * padding_len),
            )
        };
        let positions = positions.map(|positions| (positions, table));
        T::with_scratch(|scratch| match windows {
            None => {
                let qkv = [qkv(0), qkv(1), qkv(2)];
                let head = Head { qkv, out: mixed, gradient, log_sums };
                head.backward(each, positions, &mut scratch.head, [to(0), to(1), to(2)]);
            }
            Some((windows, grid)) => {
                let [query, key, value, out, slope, dq, dk, dv] =
                    scratch.gathered.each_mut().map(|room| room.room(tokens * width));
                for (which, to) in [&mut *query, &mut *key, &mut *value].into_iter().enumerate() {
                    let padding = &grid.padding[which * dim + col..][..width];
                    windows.gather(window, qkv(which), padding, to);
                }
                // What padding's queries find is cut off.
                let none = vec![T::from_f32(0.0); width];
                windows.gather(window, mixed, &none, out);
                windows.gather(window, gradient, &none, slope);
                let rows = |x| Rows::dense(x, tokens, width);
                let qkv = [rows(query), rows(key), rows(value)];
                let head = Head { qkv, out: rows(out), gradient: rows(slope), log_sums };
                let room = [&mut *dq, &mut *dk, &mut *dv];
                let room = room.map(|x| RowsMut::dense(x, tokens, width));
                head.backward(each, positions, &mut scratch.head, room);
                let mut sums = padding.chunks_exact_mut(width);
                for (which, from) in [&*dq, &*dk, &*dv].into_iter().enumerate() {
                    windows.scatter(window, from, to(which), sums.next());
                }
            }
        });
    });
    let mut gathered = Gathered { table: vec![0.0; table_len], padding: vec![0.0; 3 * dim] };
    for table in tables.chunks_exact(table_len.max(1)) {
        gathered.table.iter_mut().zip(table).for_each(|(sum, x)| *sum += x);
    }
    for (task, padding) in paddings.chunks_exact(padding_len.max(1)).enumerate() {
        let col = task % heads.heads * width;
        for (which, padding) in padding.chunks_exact(width).enumerate() {
            let sums = &mut gathered.padding[which * dim + col..][..width];
            sums.iter_mut().zip(padding).for_each(|(sum, x)| *sum += x);
        }
    }
    gathered
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
    fn backward(
        &self,
        heads: Heads,
        positions: Option<(&Positions<T>, &mut [f32])>,
        scratch: &mut Scratch<T>,
        to: [RowsMut<'_, T>; 3],
    ) {
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
        let count = positions.as_ref().map_or(0, |(positions, _)| positions.distances());
        // The loop writes whole tiles.
        let tiles = |rows: usize| rows.next_multiple_of(kernel.rows());
        let scores = scores.room((block * stride).max(tiles(count) * out_stride));
        let weight_gradients = weight_gradients.room(block * stride);
        let sums = sums.room(block.max(tiles(tokens)) * out_stride);
        let query_sums = query_sums.room(whole(width) * stride);
        let deltas = deltas.room(tokens);
        let [weights, slopes, keys_t] = &mut scratch.weights;
        let weights = weights.room(block * stride);
        let slopes = slopes.room(block * stride);
        for (row, delta) in deltas.iter_mut().enumerate() {
            *delta = dot(self.out.row(row), self.gradient.row(row));
        }
        let _session = kernel.session();
        let cols = positions.as_ref().map_or(1, |(positions, _)| positions.grid_cols());
        let lines = positions.as_ref().map_or(0, |(positions, _)| positions.lines());
        let [products, places, added, added_gradients] = &mut scratch.positions;
        let added = added.room(lines * stride);
        let added_gradients = added_gradients.room(lines * stride);
        added_gradients.fill(0.0);
        if let Some((positions, _)) = &positions {
            let out = (&mut *added, stride);
            positions.turned(kernel, query, heads.scale(), [products, places], out);
        }
        // Rows of a key's row and column.
        let lines_of = |key: usize| (key / cols * stride, (lines - cols + key % cols) * stride);
        for start in (0..tokens).step_by(block) {
            let rows = (tokens - start).min(block);
            let keys = key.part(start, rows, 0, width);
            let values = value.part(start, rows, 0, width);
            gemm_local(kernel, keys, queries_t, tokens, scores, stride, false);
            gemm_local(kernel, values, gradients_t, tokens, weight_gradients, stride, false);
            for row in 0..rows {
                let at = row * stride;
                if positions.is_some() {
                    let (of_row, of_col) = lines_of(start + row);
                    let scores = &mut scores[at..][..tokens];
                    add_both(scores, &added[of_row..], &added[of_col..]);
                }
                softmax_backward_row(
                    &scores[at..][..tokens],
                    &weight_gradients[at..][..tokens],
                    self.log_sums,
                    deltas,
                    heads.scale(),
                    &mut weights[at..][..tokens],
                    &mut slopes[at..][..tokens],
                );
                if positions.is_some() {
                    let (of_row, of_col) = lines_of(start + row);
                    // Columns' lines come after rows'.
                    let (rows, cols) = added_gradients.split_at_mut((lines - cols) * stride);
                    let cols = &mut cols[of_col - rows.len()..];
                    add_to_both(&slopes[at..][..tokens], &mut rows[of_row..], cols);
                }
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
        let turned = sums;
        transpose(
            Rows::new(query_sums, width, tokens, stride),
            RowsMut::new(turned, tokens, width, out_stride),
        );
        if let Some((positions, table)) = positions {
            let [straight, transposed] =
                scratch.products.each_mut().map(|room| room.room(tokens * count));
            let gradients = (&*added_gradients, stride);
            positions.spread(heads.scale(), gradients, tokens, places, [straight, transposed]);
            let straight = Rows::dense(straight, tokens, count);
            gemm_local(kernel, straight, positions.panels(), width, turned, out_stride, true);
            put(turned, out_stride, to[0]);
            let sums = scores;
            let transposed = Rows::dense(transposed, count, tokens);
            gemm_local(kernel, transposed, queries, width, sums, out_stride, false);
            for (row, table) in
                sums.chunks_exact(out_stride).take(count).zip(table.chunks_exact_mut(width))
            {
                table.copy_from_slice(&row[..width]);
            }
        } else {
            put(turned, out_stride, to[0]);
        }
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
