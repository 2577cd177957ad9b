//! Large products of f32 on AMX, which multiplies bf16 alone: each number is the sum of three of bf16 (8 + 8 + 8 bits of its
//! 24), and of the nine products of two such sums the six largest are added up in f32. What is left out is below 2^-24 of a
//! product, so that the result is as close to the exact one as a chain of fused multiply-adds in f32 (closer, in fact: the
//! tiles add pairs). Henry, Tang & Heinecke, "Leveraging the bfloat16 artificial intelligence datatype for higher-precision
//! computations", arXiv 1904.06376.
//!
//! Where it differs from plain f32: numbers below 2^-126 count as zero, those below 2^-110 lose bits, and an infinity, or
//! a number within 0.2% of the largest, gives NaN.

pub(super) mod pack;
mod tile;

use std::cell::RefCell;

use half::bf16;

use super::{Below, Epilogue, Kernel, LEFT, PANEL, Panels, Tile, group, tasks};
use crate::Isa;
use crate::buffer::Lines;
use crate::element::Element;
use crate::matrix::{Rows, SharedMut};
use crate::parallel::{parallel, parallel_pieces};

/// Rows of a strip and of a tile.
const ROWS: usize = 32;
/// Inner steps that are one: as many as a tile of the processor has in a row.
const STEP: usize = 32;
/// Words of one of the three parts of a step.
const PART: usize = ROWS * STEP / 2;
/// Words of a step: the parts one after the other.
const STEP_WORDS: usize = 3 * PART;
/// Most steps that are gone through before the next panel: of as many, a strip and a group of panels fit into the
/// second-level cache.
const RUN: usize = 24;
/// Strips whose sums wait in memory for the next run.
const CHUNK: usize = 16;
/// Most words of a left operand that are packed at once: 32 MiB, which a thread keeps.
const LEFT_WORDS: usize = 8 << 20;
/// Least size of a layer, in and out: below, packing costs more than is won. How many rows there are does not count, so that
/// an image's numbers do not depend on what else is in its batch.
const LEAST: usize = 128;

thread_local! {
    /// The panels of a task.
    static PANELS: RefCell<Lines<u32>> = const { RefCell::new(Lines::new()) };
    /// The sums of a chunk.
    static SUMS: RefCell<Lines<f32>> = const { RefCell::new(Lines::new()) };
}

/// Words of a strip or panel.
fn words(depth: usize) -> usize {
    depth.div_ceil(STEP) * STEP_WORDS
}

/// Words of a run of the inner dimension; all are about equal.
fn run_words(depth: usize) -> usize {
    let steps = depth.div_ceil(STEP);
    steps.div_ceil(steps.div_ceil(RUN)) * STEP_WORDS
}

/// Whether the products of a layer of such sizes are better done here.
pub(crate) fn serves<T: Element>(inputs: usize, outputs: usize) -> bool {
    T::GROUP == 1 && Isa::current() == Isa::Amx && inputs.min(outputs) >= LEAST
}

/// `A B` into the epilogue.
pub(super) fn gemm<T: Element>(a: Rows<'_, T>, b: &impl Panels<T>, epilogue: &impl Epilogue) {
    by_pieces((a.rows(), a.cols()), b, epilogue, |first, rows, words| {
        pack::rows(a.part(first, rows, 0, a.cols()), words);
    });
}

/// `A^T B` into the epilogue.
pub(crate) fn transposed<T: Element>(a: Rows<'_, T>, b: &impl Panels<T>, epilogue: &impl Epilogue) {
    by_pieces((a.cols(), a.rows()), b, epilogue, |first, rows, words| {
        pack::columns(a.part(0, a.rows(), first, rows), words);
    });
}

/// A product, of which as many rows at once as are packed together; `pack` packs a strip: from which row on, how many, and
/// where to.
fn by_pieces<T: Element>(
    (rows, depth): (usize, usize),
    b: &impl Panels<T>,
    epilogue: &impl Epilogue,
    pack: impl Fn(usize, usize, &mut [u32]) + Sync + Send,
) {
    // Taken and not borrowed: while this thread waits for others, it may be given another product.
    let mut room = LEFT.replace(Lines::new());
    let each = words(depth);
    let most = (LEFT_WORDS / each).max(1) * ROWS;
    for first in (0..rows).step_by(most) {
        let rows = (rows - first).min(most);
        let words = room.room(rows.div_ceil(ROWS) * each);
        by_strips(rows, each, words, |row, rows, words| pack(first + row, rows, words));
        product(&Left { words, rows, depth }, b, &Below { first, epilogue });
    }
    LEFT.set(room);
}

/// A left operand, packed.
struct Left<'a> {
    words: &'a [u32],
    rows: usize,
    depth: usize,
}

/// Packs all strips.
fn by_strips(
    rows: usize,
    each: usize,
    room: &mut [u32],
    pack: impl Fn(usize, usize, &mut [u32]) + Sync + Send,
) {
    let shared = SharedMut::new(room);
    parallel_pieces(rows.div_ceil(ROWS), 4, |start, end| {
        for strip in start..end {
            // SAFETY: each task has its own strips.
            let words = unsafe { shared.part(strip * each, (strip + 1) * each) };
            pack(strip * ROWS, (rows - strip * ROWS).min(ROWS), words);
        }
    });
}

/// The product into the epilogue: a task has a group of panels, for all rows or a share of them.
fn product<T: Element>(a: &Left<'_>, b: &impl Panels<T>, epilogue: &impl Epilogue) {
    assert_eq!(a.depth, b.depth(), "inner dimensions");
    let panels = b.cols().div_ceil(PANEL);
    let group = group(panels, run_words(a.depth) * size_of::<u32>(), true);
    let groups = panels.div_ceil(group);
    let shares = tasks().div_ceil(groups).min(a.rows.div_ceil(4 * ROWS)).max(1);
    let strips = a.rows.div_ceil(ROWS).div_ceil(shares);
    let shares = a.rows.div_ceil(strips * ROWS);
    parallel(groups * shares, |task| {
        let first = task / shares * group;
        let count = (panels - first).min(group);
        let rows = task % shares * strips * ROWS;
        let end = (rows + strips * ROWS).min(a.rows);
        let each = words(a.depth);
        PANELS.with_borrow_mut(|room| {
            let room = room.room(count * each);
            for (i, words) in room.chunks_exact_mut(each).enumerate() {
                b.pack_split(first + i, words);
            }
            let _session = Kernel::<bf16>::current().session();
            let panels = Group { words: room, first, cols: b.cols() };
            let chunk = if run_words(a.depth) == each { ROWS } else { CHUNK * ROWS };
            for row in (rows..end).step_by(chunk) {
                panels.chunk(a, (row, end.min(row + chunk)), epilogue);
            }
        });
    });
}

/// The packed panels of a task.
struct Group<'a> {
    words: &'a [u32],
    first: usize,
    cols: usize,
}

impl Group<'_> {
    /// The sums of some strips, run after run, and then the epilogue.
    fn chunk(&self, a: &Left<'_>, (first, end): (usize, usize), epilogue: &impl Epilogue) {
        let (depth, each) = (a.depth, words(a.depth));
        let (panels, strips) = (self.words.len() / each, (end - first).div_ceil(ROWS));
        SUMS.with_borrow_mut(|sums| {
            let sums = sums.room(strips * panels * ROWS * PANEL);
            // SAFETY: a tile is as many numbers, and `Lines` begin with a line of the cache, which is a tile's alignment.
            let sums: &mut [Tile] = unsafe {
                std::slice::from_raw_parts_mut(sums.as_mut_ptr().cast(), strips * panels)
            };
            let a = &a.words[first / ROWS * each..][..strips * each];
            let run = run_words(depth);
            for start in (0..each).step_by(run) {
                let end_of_run = each.min(start + run);
                for (strip, sums) in sums.chunks_exact_mut(panels).enumerate() {
                    let row = first + strip * ROWS;
                    let rows = (end - row).min(ROWS);
                    let a = &a[strip * each..][start..end_of_run];
                    for (i, sum) in sums.iter_mut().enumerate() {
                        let (col, cols) = self.columns(i);
                        if end_of_run == each {
                            epilogue.prefetch(row, rows, col, cols);
                        }
                        let b = &self.words[i * each..][start..end_of_run];
                        tile::add(a, b, sum, start > 0);
                    }
                    if end_of_run == each {
                        self.finish(sums, row, rows, epilogue);
                    }
                }
            }
        });
    }

    fn finish(&self, sums: &[Tile], row: usize, rows: usize, epilogue: &impl Epilogue) {
        for (i, sum) in sums.iter().enumerate() {
            let (col, cols) = self.columns(i);
            epilogue.tile(row, rows, col, cols, sum);
        }
    }

    /// The first column of a panel, and how many there are.
    fn columns(&self, panel: usize) -> (usize, usize) {
        let col = (self.first + panel) * PANEL;
        (col, (self.cols - col).min(PANEL))
    }
}
