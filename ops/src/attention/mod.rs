//! Multi-head attention (arXiv 1706.03762) head by head, in blocks of rows: of the L x L scores only a block is ever
//! in memory, as in arXiv 2205.14135. The forward pass keeps the log of each row's sum; the backward pass computes the
//! weights again from it.

mod backward;
mod forward;
mod grid;
mod op;

use std::cell::RefCell;

pub(crate) use backward::{Given, backward};
pub(crate) use forward::forward;
pub(crate) use grid::{Grid, Positions, Windows, distances};
pub use op::attention;

use crate::buffer::Lines;
use crate::gemm::{Kernel, PANEL};

/// The sizes of an attention over packed queries, keys and values: rows of `3 * heads * width`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Heads {
    pub batch: usize,
    pub tokens: usize,
    pub heads: usize,
    /// Of a head.
    pub width: usize,
}

impl Heads {
    pub fn dim(&self) -> usize {
        self.heads * self.width
    }

    pub fn rows(&self) -> usize {
        self.batch * self.tokens
    }

    /// On the scores: `1 / sqrt(width)`.
    pub fn scale(&self) -> f32 {
        1.0 / (self.width as f32).sqrt()
    }

    /// Rows of scores that are computed at once: as many as the second-level cache holds beside the rest.
    fn block<T: crate::element::Element>(&self, kernel: Kernel<T>) -> usize {
        const SCORES: usize = 48 * 1024;
        let rows = (SCORES / self.tokens.max(1)).clamp(1, BLOCK);
        (rows / kernel.rows()).max(1) * kernel.rows()
    }
}

/// Most rows of scores in a block.
const BLOCK: usize = 192;

/// A count rounded up to whole panels.
pub(crate) fn whole(cols: usize) -> usize {
    cols.next_multiple_of(PANEL)
}

/// What a thread needs for a head, kept from one to the next.
struct Scratch<T> {
    /// Packed panels of queries, keys and so on, by their place in the two passes.
    panels: [Lines<u32>; 5],
    /// Scores and sums.
    sums: [Lines<f32>; 5],
    /// Weights and their gradients.
    weights: [Lines<T>; 3],
    /// What relative positions add: products, sums and their gradients.
    positions: [Lines<f32>; 4],
    /// The gradient of the products, straight and transposed.
    products: [Lines<T>; 2],
}

impl<T> Scratch<T> {
    const fn new() -> Self {
        Self {
            panels: [const { Lines::new() }; 5],
            sums: [const { Lines::new() }; 5],
            weights: [const { Lines::new() }; 3],
            positions: [const { Lines::new() }; 4],
            products: [const { Lines::new() }; 2],
        }
    }
}

/// Element types with scratch of their own on each thread.
pub(crate) trait Attend: crate::element::Element {
    fn with_scratch<R>(run: impl FnOnce(&mut AnyScratch<Self>) -> R) -> R;
}

/// Hides what is in it from the trait's users.
pub(crate) struct AnyScratch<T> {
    head: Scratch<T>,
    /// A window's rows of a head: queries, keys, values, what comes of them, and gradients.
    gathered: [Lines<T>; 8],
}

impl<T: crate::element::Element> AnyScratch<T> {
    const fn new() -> Self {
        Self { head: Scratch::new(), gathered: [const { Lines::new() }; 8] }
    }

    /// Room for rows and for sums, of whoever needs some.
    pub fn room(&mut self, numbers: usize, sums: usize) -> (&mut [T], &mut [f32]) {
        (self.head.weights[0].room(numbers), self.head.sums[0].room(sums))
    }
}

macro_rules! attend {
    ($type:ty) => {
        impl Attend for $type {
            fn with_scratch<R>(run: impl FnOnce(&mut AnyScratch<Self>) -> R) -> R {
                thread_local! {
                    static SCRATCH: RefCell<AnyScratch<$type>> =
                        const { RefCell::new(AnyScratch::new()) };
                }
                SCRATCH.with_borrow_mut(run)
            }
        }
    };
}
attend!(f32);
attend!(half::bf16);
