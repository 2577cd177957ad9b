//! What becomes of a finished tile, so that a layer's output is written once.

use super::{PANEL, Tile};
use crate::element::Element;
use crate::isa::multiversion;
use crate::matrix::{Rows, RowsMut};
#[cfg(target_arch = "x86_64")]
use crate::rows::avx512_bf16;
use crate::rows::math::{gelu, gelu_slope};

/// Takes the tiles of a product, each once, from several threads.
pub(crate) trait Epilogue: Sync {
    /// The tile's first `rows` x `cols` numbers are those of the product from (`row`, `col`) on.
    fn tile(&self, row: usize, rows: usize, col: usize, cols: usize, tile: &Tile);

    /// Asks the memory for what [`Epilogue::tile`] will touch, before the tile is computed: the next row of these
    /// matrices is kilobytes away, which the processor does not foresee.
    fn prefetch(&self, row: usize, rows: usize, col: usize, cols: usize);
}

/// What becomes of the rows from `first` on, for a product of these alone.
pub(super) struct Below<'a, E> {
    pub first: usize,
    pub epilogue: &'a E,
}

impl<E: Epilogue> Epilogue for Below<'_, E> {
    fn tile(&self, row: usize, rows: usize, col: usize, cols: usize, tile: &Tile) {
        self.epilogue.tile(self.first + row, rows, col, cols, tile);
    }

    fn prefetch(&self, row: usize, rows: usize, col: usize, cols: usize) {
        self.epilogue.prefetch(self.first + row, rows, col, cols);
    }
}

/// A bias's part for a panel; zeros if there is none.
fn bias_part(bias: Option<&[f32]>, col: usize, cols: usize) -> [f32; PANEL] {
    let mut part = [0.0; PANEL];
    if let Some(bias) = bias {
        part[..cols].copy_from_slice(&bias[col..col + cols]);
    }
    part
}

/// `out = C + bias`.
pub(crate) struct Store<'a, T> {
    pub out: RowsMut<'a, T>,
    pub bias: Option<&'a [f32]>,
}

impl<T: Element> Epilogue for Store<'_, T> {
    fn tile(&self, row: usize, rows: usize, col: usize, cols: usize, tile: &Tile) {
        let bias = bias_part(self.bias, col, cols);
        store(tile, &bias, self.out.part(row, rows, col, cols));
    }

    fn prefetch(&self, row: usize, rows: usize, col: usize, cols: usize) {
        self.out.part(row, rows, col, cols).prefetch();
    }
}

multiversion! {
    fn store<T: Element>(tile: &Tile, bias: &[f32; PANEL], out: RowsMut<'_, T>) = store_body;
}

#[inline(always)]
fn store_body<const FMA: bool, T: Element>(tile: &Tile, bias: &[f32; PANEL], out: RowsMut<'_, T>) {
    for (row, sums) in (0..out.rows()).zip(tile.0.chunks_exact(PANEL)) {
        // SAFETY: a tile's rows are this task's alone.
        let out = unsafe { out.row(row, 0, out.cols()) };
        for ((out, sum), bias) in out.iter_mut().zip(sums).zip(bias) {
            *out = T::from_f32(sum + bias);
        }
    }
}

/// `out = residual + scale (C + bias)`, the scale one for each sample (drop path).
pub(crate) struct Residual<'a> {
    pub out: RowsMut<'a, f32>,
    pub bias: Option<&'a [f32]>,
    pub residual: Rows<'a, f32>,
    pub scale: Option<RowScale<'a>>,
}

/// A factor for each run of `rows` rows.
#[derive(Clone, Copy)]
pub(crate) struct RowScale<'a> {
    pub scales: &'a [f32],
    pub rows: usize,
}

impl RowScale<'_> {
    pub fn at(scale: Option<Self>, row: usize) -> f32 {
        scale.map_or(1.0, |scale| scale.scales[row / scale.rows])
    }
}

impl Epilogue for Residual<'_> {
    fn tile(&self, row: usize, rows: usize, col: usize, cols: usize, tile: &Tile) {
        let bias = bias_part(self.bias, col, cols);
        let mut scales = [0.0; super::TILE_ROWS];
        for (i, scale) in scales.iter_mut().take(rows).enumerate() {
            *scale = RowScale::at(self.scale, row + i);
        }
        let residual = self.residual.part(row, rows, col, cols);
        add_residual(tile, &bias, &scales, residual, self.out.part(row, rows, col, cols));
    }

    fn prefetch(&self, row: usize, rows: usize, col: usize, cols: usize) {
        self.residual.part(row, rows, col, cols).prefetch();
        self.out.part(row, rows, col, cols).prefetch();
    }
}

multiversion! {
    fn add_residual(
        tile: &Tile, bias: &[f32; PANEL], scales: &[f32], residual: Rows<'_, f32>, out: RowsMut<'_, f32>
    ) = add_residual_body;
}

#[inline(always)]
fn add_residual_body<const FMA: bool>(
    tile: &Tile,
    bias: &[f32; PANEL],
    scales: &[f32],
    residual: Rows<'_, f32>,
    out: RowsMut<'_, f32>,
) {
    for (row, sums) in (0..out.rows()).zip(tile.0.chunks_exact(PANEL)) {
        let (residual, scale) = (residual.row(row), scales[row]);
        // SAFETY: a tile's rows are this task's alone.
        let out = unsafe { out.row(row, 0, out.cols()) };
        for (((out, sum), bias), residual) in out.iter_mut().zip(sums).zip(bias).zip(residual) {
            *out = residual + scale * (sum + bias);
        }
    }
}

/// `before = C + bias` and `after = gelu(before)`.
pub(crate) struct Gelu<'a, T> {
    /// Kept for the backward pass; not written where none will come.
    pub before: Option<RowsMut<'a, T>>,
    pub after: RowsMut<'a, T>,
    pub bias: Option<&'a [f32]>,
}

impl<T: Element> Epilogue for Gelu<'_, T> {
    fn tile(&self, row: usize, rows: usize, col: usize, cols: usize, tile: &Tile) {
        let bias = bias_part(self.bias, col, cols);
        let after = self.after.part(row, rows, col, cols);
        #[cfg(target_arch = "x86_64")]
        if T::GROUP == 2 && avx512_bf16::available() {
            let before = self.before.map(|before| before.part(row, rows, col, cols));
            return gelu_bf16(tile, &bias[..cols], before, after);
        }
        match self.before {
            Some(before) => {
                let before = before.part(row, rows, col, cols);
                store(tile, &bias, before);
                gelu_of(tile, &bias, after);
            }
            None => gelu_of(tile, &bias, after),
        }
    }

    fn prefetch(&self, row: usize, rows: usize, col: usize, cols: usize) {
        self.after.part(row, rows, col, cols).prefetch();
        if let Some(before) = self.before {
            before.part(row, rows, col, cols).prefetch();
        }
    }
}

/// [`Gelu`] on AVX-512-BF16.
#[cfg(target_arch = "x86_64")]
fn gelu_bf16<T: Element>(
    tile: &Tile,
    bias: &[f32],
    before: Option<RowsMut<'_, T>>,
    after: RowsMut<'_, T>,
) {
    for (row, sums) in (0..after.rows()).zip(tile.0.chunks_exact(PANEL)) {
        let cols = after.cols();
        // SAFETY: a tile's rows are this task's alone; the caller asked for the instruction set.
        unsafe {
            let before =
                before.as_ref().and_then(|before| T::as_bf16_mut(before.row(row, 0, cols)));
            if let Some(after) = T::as_bf16_mut(after.row(row, 0, cols)) {
                avx512_bf16::gelu(&sums[..cols], bias, before, after);
            }
        }
    }
}

multiversion! {
    fn gelu_of<T: Element>(tile: &Tile, bias: &[f32; PANEL], out: RowsMut<'_, T>) = gelu_of_body;
}

#[inline(always)]
fn gelu_of_body<const FMA: bool, T: Element>(
    tile: &Tile,
    bias: &[f32; PANEL],
    out: RowsMut<'_, T>,
) {
    for (row, sums) in (0..out.rows()).zip(tile.0.chunks_exact(PANEL)) {
        // SAFETY: a tile's rows are this task's alone.
        let out = unsafe { out.row(row, 0, out.cols()) };
        for ((out, sum), bias) in out.iter_mut().zip(sums).zip(bias) {
            // What the backward pass will read is the rounded number, so that is what counts here too.
            *out = T::from_f32(gelu::<FMA>(T::from_f32(sum + bias).to_f32()));
        }
    }
}

/// `out = C * gelu'(before)`.
pub(crate) struct GeluBackward<'a, T> {
    pub before: Rows<'a, T>,
    pub out: RowsMut<'a, T>,
}

impl<T: Element> Epilogue for GeluBackward<'_, T> {
    fn tile(&self, row: usize, rows: usize, col: usize, cols: usize, tile: &Tile) {
        let before = self.before.part(row, rows, col, cols);
        let out = self.out.part(row, rows, col, cols);
        #[cfg(target_arch = "x86_64")]
        if T::GROUP == 2 && avx512_bf16::available() {
            return gelu_backward_bf16(tile, before, out);
        }
        gelu_backward(tile, before, out);
    }

    fn prefetch(&self, row: usize, rows: usize, col: usize, cols: usize) {
        self.before.part(row, rows, col, cols).prefetch();
        self.out.part(row, rows, col, cols).prefetch();
    }
}

/// [`GeluBackward`] on AVX-512-BF16.
#[cfg(target_arch = "x86_64")]
fn gelu_backward_bf16<T: Element>(tile: &Tile, before: Rows<'_, T>, out: RowsMut<'_, T>) {
    for (row, sums) in (0..out.rows()).zip(tile.0.chunks_exact(PANEL)) {
        // SAFETY: a tile's rows are this task's alone; the caller asked for the instruction set.
        unsafe {
            let out = T::as_bf16_mut(out.row(row, 0, out.cols()));
            if let (Some(before), Some(out)) = (T::as_bf16(before.row(row)), out) {
                avx512_bf16::gelu_backward(&sums[..out.len()], before, out);
            }
        }
    }
}

multiversion! {
    fn gelu_backward<T: Element>(tile: &Tile, before: Rows<'_, T>, out: RowsMut<'_, T>) = gelu_backward_body;
}

#[inline(always)]
fn gelu_backward_body<const FMA: bool, T: Element>(
    tile: &Tile,
    before: Rows<'_, T>,
    out: RowsMut<'_, T>,
) {
    for (row, sums) in (0..out.rows()).zip(tile.0.chunks_exact(PANEL)) {
        // SAFETY: a tile's rows are this task's alone.
        let out = unsafe { out.row(row, 0, out.cols()) };
        for ((out, sum), before) in out.iter_mut().zip(sums).zip(before.row(row)) {
            *out = T::from_f32(sum * gelu_slope::<FMA>(before.to_f32()));
        }
    }
}

/// `out = C`, or `out += C`: a weight's gradient.
pub(crate) struct Accumulate<'a> {
    pub out: RowsMut<'a, f32>,
    pub add: bool,
}

impl Epilogue for Accumulate<'_> {
    fn tile(&self, row: usize, rows: usize, col: usize, cols: usize, tile: &Tile) {
        accumulate(tile, self.add, self.out.part(row, rows, col, cols));
    }

    fn prefetch(&self, row: usize, rows: usize, col: usize, cols: usize) {
        self.out.part(row, rows, col, cols).prefetch();
    }
}

multiversion! {
    fn accumulate(tile: &Tile, add: bool, out: RowsMut<'_, f32>) = accumulate_body;
}

#[inline(always)]
fn accumulate_body<const FMA: bool>(tile: &Tile, add: bool, out: RowsMut<'_, f32>) {
    for (row, sums) in (0..out.rows()).zip(tile.0.chunks_exact(PANEL)) {
        // SAFETY: a tile's rows are this task's alone.
        let out = unsafe { out.row(row, 0, out.cols()) };
        if add {
            out.iter_mut().zip(sums).for_each(|(out, sum)| *out += sum);
        } else {
            out.copy_from_slice(&sums[..out.len()]);
        }
    }
}
