//! Attention over a grid of tokens: in windows, and with decomposed relative positions (arXiv 2203.16527, as detectron2's
//! ViT has them).
//!
//! A score gets two numbers more, `q . R_h[row of q - row of k]` and the same of columns. For all distances at once they are
//! a product of queries and a small table. No bias matrix is ever in memory: a block of scores gets them as it is made.

use super::Heads;
use crate::buffer::Lines;
use crate::element::Element;
use crate::gemm::{Kernel, PANEL, Straight, Transposed, gemm_local, pack_all, transpose};
use crate::isa::multiversion;
use crate::matrix::{Rows, RowsMut};
use crate::rows::convert::convert_row;

/// What a grid adds to attention.
pub(crate) struct Grid<T> {
    /// Windows that attend on their own; all tokens of a sample do without.
    pub windows: Option<Windows>,
    pub positions: Option<Positions<T>>,
    /// Queries, keys and values of a token of zeros, which fills windows at the border.
    pub padding: Vec<T>,
}

impl<T: Element> Grid<T> {
    /// The sizes of a single attention; windows count as samples.
    pub fn heads(grid: Option<&Self>, heads: Heads) -> Heads {
        match grid.and_then(|grid| grid.windows) {
            Some(windows) => Heads {
                batch: heads.batch * windows.count(),
                tokens: windows.side * windows.side,
                ..heads
            },
            None => heads,
        }
    }
}

/// Square windows from the upper left corner on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Windows {
    pub rows: usize,
    pub cols: usize,
    pub side: usize,
}

impl Windows {
    pub fn count(&self) -> usize {
        self.rows.div_ceil(self.side) * self.cols.div_ceil(self.side)
    }

    /// Whether windows reach over the border.
    pub fn padded(&self) -> bool {
        !self.rows.is_multiple_of(self.side) || !self.cols.is_multiple_of(self.side)
    }

    /// The place in its sample of a window's token; none beyond the border.
    pub fn place(&self, window: usize, token: usize) -> Option<usize> {
        let across = self.cols.div_ceil(self.side);
        let row = window / across * self.side + token / self.side;
        let col = window % across * self.side + token % self.side;
        (row < self.rows && col < self.cols).then_some(row * self.cols + col)
    }

    /// Copies a window's rows, `padding` for those beyond the border.
    pub fn gather<T: Element>(
        &self,
        window: usize,
        from: Rows<'_, T>,
        padding: &[T],
        to: &mut [T],
    ) {
        for (token, to) in to.chunks_exact_mut(padding.len()).enumerate() {
            to.copy_from_slice(match self.place(window, token) {
                Some(place) => from.row(place),
                None => padding,
            });
        }
    }

    /// The other way. Rows beyond the border are added up in `padding`.
    pub fn scatter<T: Element>(
        &self,
        window: usize,
        from: &[T],
        to: RowsMut<'_, T>,
        mut padding: Option<&mut [f32]>,
    ) {
        for (token, from) in from.chunks_exact(to.cols()).enumerate() {
            match (self.place(window, token), padding.as_deref_mut()) {
                // SAFETY: a window's rows and a head's columns are this task's alone.
                (Some(place), _) => unsafe { to.row(place, 0, from.len()) }.copy_from_slice(from),
                (None, Some(sums)) => {
                    sums.iter_mut().zip(from).for_each(|(sum, x)| *sum += x.to_f32());
                }
                (None, None) => {}
            }
        }
    }
}

/// Relative positions of a grid of tokens, for one head's width; all heads share them.
pub(crate) struct Positions<T> {
    /// Rows and columns of the grid.
    grid: (usize, usize),
    width: usize,
    /// `[2 rows - 1 + 2 cols - 1, width]`: rows' distances, then columns', each from the largest down, so that the keys of
    /// a query have theirs in order.
    table: Vec<T>,
    /// Its panels as the right operand of products with queries, and with their gradients.
    transposed: Lines<u32>,
    straight: Lines<u32>,
}

impl<T: Element> Positions<T> {
    pub fn new(table: &[f32], grid: (usize, usize), width: usize) -> Self {
        let mut rounded = vec![T::from_f32(0.0); table.len()];
        convert_row(table, 1.0, &mut rounded);
        let (mut transposed, mut straight) = (Lines::new(), Lines::new());
        let rows = Rows::dense(&rounded, distances(grid), width);
        pack_all::<T>(&Transposed(rows), &mut transposed);
        pack_all::<T>(&Straight(rows), &mut straight);
        Self { grid, width, table: rounded, transposed, straight }
    }

    /// How many distances there are.
    pub fn distances(&self) -> usize {
        distances(self.grid)
    }

    pub fn grid_cols(&self) -> usize {
        self.grid.1
    }

    /// Rows and columns together.
    pub fn lines(&self) -> usize {
        self.grid.0 + self.grid.1
    }

    /// A row of all distances in room for whole panels.
    pub fn stride(&self) -> usize {
        self.distances().next_multiple_of(PANEL)
    }

    /// Products of queries with the table, `[queries, stride]`.
    fn products(&self, kernel: Kernel<T>, query: Rows<'_, T>, out: &mut [f32]) {
        let (count, stride) = (self.distances(), self.stride());
        debug_assert_eq!((self.table.len(), query.cols()), (count * self.width, self.width));
        gemm_local(kernel, query, &self.transposed, count, out, stride, false);
    }

    /// Where a token's distances to all rows and to all columns begin.
    fn starts(&self, token: usize) -> (usize, usize) {
        let (rows, cols) = self.grid;
        (rows - 1 - token / cols, 2 * rows - 1 + cols - 1 - token % cols)
    }

    /// Adds to the scores of some queries, the first of which is token `start`, before they are scaled by `scale`.
    pub fn add(
        &self,
        kernel: Kernel<T>,
        query: Rows<'_, T>,
        start: usize,
        scale: f32,
        scores: (&mut [f32], usize),
        room: &mut Lines<f32>,
    ) {
        let ((rows, cols), stride) = (self.grid, self.stride());
        // The loop writes whole tiles.
        let products = room.room(query.rows().next_multiple_of(kernel.rows()) * stride);
        self.products(kernel, query, products);
        let (scores, score_stride) = scores;
        for (row, products) in products.chunks_exact(stride).take(query.rows()).enumerate() {
            let (of_rows, of_cols) = self.starts(start + row);
            add_positions(
                &mut scores[row * score_stride..][..rows * cols],
                &products[of_rows..][..rows],
                &products[of_cols..][..cols],
                1.0 / scale,
            );
        }
    }

    /// What the scores of all queries get, a row for each row and column of keys: `[lines, stride]`. `places` is room.
    pub fn turned(
        &self,
        kernel: Kernel<T>,
        query: Rows<'_, T>,
        scale: f32,
        room: [&mut Lines<f32>; 2],
        out: (&mut [f32], usize),
    ) {
        const QUERIES: usize = 192;
        let ((rows, cols), stride, lines) = (self.grid, self.stride(), self.lines());
        let [products, places] = room;
        let products = products.room(QUERIES.next_multiple_of(kernel.rows()) * stride);
        let places = places.room(query.rows() * lines);
        for start in (0..query.rows()).step_by(QUERIES) {
            let count = (query.rows() - start).min(QUERIES);
            self.products(kernel, query.part(start, count, 0, self.width), products);
            for row in 0..count {
                let (of_rows, of_cols) = self.starts(start + row);
                let products = &products[row * stride..];
                let place = &mut places[(start + row) * lines..][..lines];
                convert_row(&products[of_rows..][..rows], 1.0 / scale, &mut place[..rows]);
                convert_row(&products[of_cols..][..cols], 1.0 / scale, &mut place[rows..]);
            }
        }
        let (out, out_stride) = out;
        let places = Rows::dense(places, query.rows(), lines);
        transpose(places, RowsMut::new(out, lines, query.rows(), out_stride));
    }

    /// The gradient of the products, `[queries, distances]` and transposed, from that of what scores got, `[lines, stride]`.
    pub fn spread(
        &self,
        scale: f32,
        gradients: (&[f32], usize),
        queries: usize,
        room: &mut Lines<f32>,
        out: [&mut [T]; 2],
    ) {
        let ((rows, cols), lines, count) = (self.grid, self.lines(), self.distances());
        let places = room.room(queries * lines);
        let gradients = Rows::new(gradients.0, lines, queries, gradients.1);
        transpose(gradients, RowsMut::dense(places, queries, lines));
        let [straight, transposed] = out;
        straight.fill(T::from_f32(0.0));
        for (token, place) in places.chunks_exact(lines).enumerate() {
            let (of_rows, of_cols) = self.starts(token);
            let out = &mut straight[token * count..][..count];
            convert_row(&place[..rows], 1.0 / scale, &mut out[of_rows..][..rows]);
            convert_row(&place[rows..], 1.0 / scale, &mut out[of_cols..][..cols]);
        }
        let to = RowsMut::dense(transposed, count, queries);
        transpose(Rows::dense(&*straight, queries, count), to);
    }

    /// The table's panels for `gradient of the products x table`, the queries' gradient.
    pub fn panels(&self) -> &[u32] {
        &self.straight
    }
}

/// How many distances a grid has.
pub(crate) fn distances((rows, cols): (usize, usize)) -> usize {
    2 * rows - 1 + 2 * cols - 1
}

multiversion! {
    fn add_positions(scores: &mut [f32], of_rows: &[f32], of_cols: &[f32], factor: f32) = add_positions_body;
}

#[inline(always)]
fn add_positions_body<const FMA: bool>(
    scores: &mut [f32],
    of_rows: &[f32],
    of_cols: &[f32],
    factor: f32,
) {
    for (scores, of_row) in scores.chunks_exact_mut(of_cols.len()).zip(of_rows) {
        for (score, of_col) in scores.iter_mut().zip(of_cols) {
            *score += factor * (of_row + of_col);
        }
    }
}

multiversion! {
    /// `sum += a + b`.
    pub(super) fn add_both(sum: &mut [f32], a: &[f32], b: &[f32]) = add_both_body;
}

#[inline(always)]
fn add_both_body<const FMA: bool>(sum: &mut [f32], a: &[f32], b: &[f32]) {
    let len = sum.len();
    let (a, b) = (&a[..len], &b[..len]);
    for i in 0..len {
        sum[i] += a[i] + b[i];
    }
}

multiversion! {
    /// `a += x` and `b += x`.
    pub(super) fn add_to_both<T: Element>(x: &[T], a: &mut [f32], b: &mut [f32]) = add_to_both_body;
}

#[inline(always)]
fn add_to_both_body<const FMA: bool, T: Element>(x: &[T], a: &mut [f32], b: &mut [f32]) {
    let len = x.len();
    let (a, b) = (&mut a[..len], &mut b[..len]);
    for i in 0..len {
        let x = x[i].to_f32();
        a[i] += x;
        b[i] += x;
    }
}
