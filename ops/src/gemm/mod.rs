//! Matrix products: `C = A B`, f32 or bf16 in, sums in f32, with an epilogue on each finished tile.
//!
//! `A` is read where it lies, row by row, or from strips that are packed once for all tasks, where the loop gains from it.
//! `B` is packed in panels of 32 columns, up to eight by the task that then uses them for all rows of `A`, so that packed
//! panels stay in that core's second-level cache. A weight is thus converted and packed once for the forward and once for
//! the backward pass of a step, straight from its f32 master copy: a packed copy of all weights would cost memory and save
//! nothing. Each number of `C` is one sum over the inner dimension in a fixed order, whatever the number of threads.

#[cfg(target_arch = "x86_64")]
mod avx512;
mod epilogue;
mod micro;
mod pack;
#[cfg(target_arch = "x86_64")]
pub(crate) mod split;
mod transpose;

use std::cell::{Cell, RefCell};

use epilogue::Below;
pub(crate) use epilogue::{Accumulate, Epilogue, Gelu, GeluBackward, Residual, RowScale, Store};
#[cfg(target_arch = "x86_64")]
pub(crate) use micro::amx_available;
pub(crate) use pack::{Panels, Straight, Transposed, pack_all};
pub(crate) use transpose::transpose;

use crate::buffer::Lines;
use crate::element::Element;
use crate::matrix::{Rows, SharedMut};
use crate::parallel::{parallel, parallel_pieces, threads};
pub(crate) use micro::{Kernel, Operand};

/// Columns of a packed panel and of a tile.
pub(crate) const PANEL: usize = 32;
/// Most rows of a tile.
pub(crate) const TILE_ROWS: usize = 32;
/// Inner steps after which the sum is put down: longer ones would push a panel out of the cache.
const DEPTH: usize = 6144;
/// Most words of rows that are packed at once: 16 MiB, which a thread keeps.
const STRIPS_WORDS: usize = 4 << 20;
/// Columns from which on it pays to pack the left operand for all of them.
const MANY_COLUMNS: usize = 8 * PANEL;

/// Room for a tile of results.
#[repr(C, align(64))]
pub(crate) struct Tile(pub [f32; TILE_ROWS * PANEL]);

thread_local! {
    /// Packed panels, as 32-bit words that suit both element types.
    static PACKED: RefCell<Lines<u32>> = const { RefCell::new(Lines::new()) };
    /// Packed strips of the left operand.
    static STRIPS: RefCell<Lines<u32>> = const { RefCell::new(Lines::new()) };
    /// A whole left operand as strips, for all threads.
    static LEFT: Cell<Lines<u32>> = const { Cell::new(Lines::new()) };
}

/// Words of a packed panel of `depth` inner steps.
pub(crate) fn panel_words<T: Element>(depth: usize) -> usize {
    depth.next_multiple_of(16 * T::GROUP) / T::GROUP * PANEL
}

/// The left operand of a product.
#[derive(Clone, Copy)]
pub(crate) enum Left<'a, T> {
    /// Rows where they lie.
    Rows(Rows<'a, T>),
    /// The transpose of a matrix of `rows` columns, as the packed panels of those columns.
    Panels { words: &'a [u32], rows: usize, depth: usize },
    /// Rows as packed strips.
    Strips { words: &'a [u32], rows: usize, depth: usize },
}

impl<T: Element> Left<'_, T> {
    fn rows(&self) -> usize {
        match self {
            Self::Rows(a) => a.rows(),
            Self::Panels { rows, .. } | Self::Strips { rows, .. } => *rows,
        }
    }

    fn depth(&self) -> usize {
        match self {
            Self::Rows(a) => a.cols(),
            Self::Panels { depth, .. } | Self::Strips { depth, .. } => *depth,
        }
    }

    /// Rows of the tile that begins at `row`, so that all tiles of a panel are about equal.
    fn tile_rows(&self, kernel: Kernel<T>, row: usize, end: usize) -> usize {
        let most = kernel.rows();
        match self {
            Self::Rows(_) | Self::Strips { .. } => (end - row).min(most),
            Self::Panels { .. } => {
                let left = PANEL - row % PANEL;
                left.div_ceil(left.div_ceil(most)).min(end - row)
            }
        }
    }

    /// What the loop gets of the rows from `row` on.
    fn operand<'a>(
        &'a self,
        kernel: Kernel<T>,
        row: usize,
        rows: usize,
        room: &'a mut Lines<u32>,
    ) -> Operand<'a, T> {
        match *self {
            Self::Rows(a) => kernel.operand(a.part(row, rows, 0, a.cols()), room),
            Self::Panels { words, depth, .. } => {
                let panel = &words[row / PANEL * panel_words::<T>(depth)..];
                Operand::Panel { words: panel, first: row % PANEL, rows, depth }
            }
            Self::Strips { words, depth, .. } => {
                let strip = row / kernel.rows() * kernel.strip_words(depth);
                Operand::Strip { words: &words[strip..], rows, depth }
            }
        }
    }
}

/// `A B` into the epilogue.
///
/// # Panics
/// When the inner dimensions differ.
pub(crate) fn gemm<T: Element>(a: Rows<'_, T>, b: &impl Panels<T>, epilogue: &impl Epilogue) {
    #[cfg(target_arch = "x86_64")]
    if split::serves::<T>(a.cols(), b.cols()) {
        return split::gemm(a, b, epilogue);
    }
    let kernel = Kernel::<T>::current();
    if !kernel.packs_rows() || a.rows() < kernel.rows() || b.cols() < MANY_COLUMNS {
        return product(&Left::Rows(a), b, epilogue);
    }
    // Taken and not borrowed: while this thread waits for others, it may be given another product.
    let mut room = LEFT.replace(Lines::new());
    let each = kernel.strip_words(a.cols());
    let strips = (STRIPS_WORDS / each.max(1)).max(1);
    for first in (0..a.rows()).step_by(strips * kernel.rows()) {
        let a = a.part(first, (a.rows() - first).min(strips * kernel.rows()), 0, a.cols());
        let words = room.room(a.rows().div_ceil(kernel.rows()) * each);
        pack_strips(kernel, a, words);
        let a = Left::Strips { words, rows: a.rows(), depth: a.cols() };
        product(&a, b, &Below { first, epilogue });
    }
    LEFT.set(room);
}

/// All rows as strips.
fn pack_strips<T: Element>(kernel: Kernel<T>, a: Rows<'_, T>, words: &mut [u32]) {
    const STRIPS: usize = 8;
    let each = kernel.strip_words(a.cols());
    let strips = a.rows().div_ceil(kernel.rows());
    let shared = SharedMut::new(words);
    parallel_pieces(strips, STRIPS, |start, end| {
        for strip in start..end {
            let row = strip * kernel.rows();
            // SAFETY: each task has its own strips.
            let words = unsafe { shared.part(strip * each, (strip + 1) * each) };
            kernel.pack_strip(a.part(row, (a.rows() - row).min(kernel.rows()), 0, a.cols()), words);
        }
    });
}

/// [`gemm`] of either kind of left operand.
pub(crate) fn product<T: Element>(a: &Left<'_, T>, b: &impl Panels<T>, epilogue: &impl Epilogue) {
    assert_eq!(a.depth(), b.depth(), "inner dimensions");
    if a.rows() == 0 || b.cols() == 0 {
        return;
    }
    let kernel = Kernel::<T>::current();
    let panels = b.cols().div_ceil(PANEL);
    let group = group(panels, panel_words::<T>(b.depth()) * size_of::<u32>(), kernel.fast());
    let groups = panels.div_ceil(group);
    // Where there are few panels, rows are shared out too; each share packs its panels for itself.
    let shares = tasks().div_ceil(groups).min(a.rows().div_ceil(4 * TILE_ROWS)).max(1);
    let unit = match a {
        Left::Rows(_) | Left::Strips { .. } => kernel.rows(),
        Left::Panels { .. } => PANEL,
    };
    let rows = a.rows().div_ceil(shares).next_multiple_of(unit);
    let shares = a.rows().div_ceil(rows);
    let words = panel_words::<T>(b.depth());
    parallel(groups * shares, |task| {
        let (first_panel, first) = (task / shares * group, task % shares * rows);
        let last = (first + rows).min(a.rows());
        let count = (panels - first_panel).min(group);
        PACKED.with_borrow_mut(|packed| {
            let packed = packed.room(words * count);
            for i in 0..count {
                b.pack(first_panel + i, &mut packed[i * words..(i + 1) * words]);
            }
            let columns = |i: usize| {
                let col = (first_panel + i) * PANEL;
                (col, (b.cols() - col).min(PANEL))
            };
            row_by_row(kernel, a, (first, last), (&*packed, count), columns, epilogue);
        });
    });
}

/// Tasks that a large product should make at least, so that a thread which others hold up leaves its share to the rest.
fn tasks() -> usize {
    3 * threads()
}

/// How many panels a task takes. Two read twice as much of each of B's rows at once, and a tile's rows of A twice; loops
/// that are faster than the cache which A comes from take as many as the second-level cache holds beside it, but leave
/// enough tasks without sharing out rows: reading A once more costs less than packing a panel once more.
fn group(panels: usize, bytes: usize, fast: bool) -> usize {
    const ROOM: usize = 800 << 10;
    if fast {
        let most = 8.min(ROOM / bytes.max(1)).max(1);
        return panels.div_ceil(tasks()).clamp(1, most);
    }
    if panels >= 4 * threads() { 2 } else { 1 }
}

/// The product of some rows and some packed panels, tile by tile; `columns` tells a panel's first
/// column and how many there are.
fn row_by_row<T: Element>(
    kernel: Kernel<T>,
    a: &Left<'_, T>,
    (first, last): (usize, usize),
    (packed, panels): (&[u32], usize),
    columns: impl Fn(usize) -> (usize, usize),
    epilogue: &impl Epilogue,
) {
    let mut tile = Tile([0.0; TILE_ROWS * PANEL]);
    let _session = kernel.session();
    let words = panel_words::<T>(a.depth());
    STRIPS.with_borrow_mut(|room| {
        let mut row = first;
        while row < last {
            let rows = a.tile_rows(kernel, row, last);
            let operand = a.operand(kernel, row, rows, room);
            for i in 0..panels {
                let (col, cols) = columns(i);
                epilogue.prefetch(row, rows, col, cols);
                one_tile(kernel, operand, &packed[i * words..(i + 1) * words], &mut tile);
                epilogue.tile(row, rows, col, cols, &tile);
            }
            row += rows;
        }
    });
}

/// One tile, in runs of the inner dimension.
fn one_tile<T: Element>(kernel: Kernel<T>, a: Operand<'_, T>, packed: &[u32], tile: &mut Tile) {
    let whole = a.depth();
    if whole == 0 {
        return tile.0.fill(0.0);
    }
    for start in (0..whole).step_by(DEPTH) {
        let b = &packed[start / T::GROUP * PANEL..];
        let out = TileOut { first: tile.0.as_mut_ptr(), stride: PANEL, len: tile.0.len() };
        kernel.run(a.part(kernel, start, (whole - start).min(DEPTH)), b, out, start > 0);
    }
}

/// Where a tile's results go: rows of [`PANEL`] numbers, `stride` apart.
#[derive(Clone, Copy)]
pub(crate) struct TileOut {
    pub first: *mut f32,
    pub stride: usize,
    /// Numbers from `first` on that may be written.
    pub len: usize,
}

/// A small product on this thread: rows of `a` times packed panels, `[depth] x [32]` each, into `out`, whose rows hold
/// whole panels.
///
/// # Panics
/// When `out` or `packed` is too short.
pub(crate) fn gemm_local<T: Element>(
    kernel: Kernel<T>,
    a: Rows<'_, T>,
    packed: &[u32],
    cols: usize,
    out: &mut [f32],
    stride: usize,
    accumulate: bool,
) {
    let words = panel_words::<T>(a.cols());
    let panels = cols.div_ceil(PANEL);
    assert!(stride >= panels * PANEL && packed.len() >= panels * words, "room for the panels");
    assert!(
        a.rows() == 0 || out.len() >= (a.rows() - 1) * stride + panels * PANEL,
        "room for the rows"
    );
    STRIPS.with_borrow_mut(|room| {
        let last = a.rows() % kernel.rows();
        let whole =
            kernel.takes(kernel.rows(), a.cols()) && (last == 0 || kernel.takes(last, a.cols()));
        let a = if whole { Left::Rows(a) } else { strips(kernel, a, room) };
        let mut none = Lines::new();
        for (panel, b) in packed.chunks_exact(words).take(panels).enumerate() {
            for row in (0..a.rows()).step_by(kernel.rows()) {
                let rows = (a.rows() - row).min(kernel.rows());
                let rest = &mut out[row * stride + panel * PANEL..];
                let tile = TileOut { first: rest.as_mut_ptr(), stride, len: rest.len() };
                kernel.run(a.operand(kernel, row, rows, &mut none), b, tile, accumulate);
            }
        }
    });
}

/// All rows as strips, in `room`.
fn strips<'a, T: Element>(
    kernel: Kernel<T>,
    a: Rows<'_, T>,
    room: &'a mut Lines<u32>,
) -> Left<'a, T> {
    let (rows, depth) = (a.rows(), a.cols());
    let each = kernel.strip_words(depth);
    let words = rows.div_ceil(kernel.rows()) * each;
    let room = room.room(words);
    for (strip, words) in room.chunks_exact_mut(each.max(1)).enumerate() {
        let row = strip * kernel.rows();
        kernel.pack_strip(a.part(row, (rows - row).min(kernel.rows()), 0, depth), words);
    }
    Left::Strips { words: room, rows, depth }
}
