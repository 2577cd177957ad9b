//! Attention over a grid: what a block holds of it.

use candle_core::{Result, Tensor, bail};

use crate::attention::{Grid, Heads, Positions, Windows, distances};
use crate::backward::Collector;
use crate::element::Element;
use crate::numbers::Numbers;
use crate::rows::convert::convert_row;

/// Attention over tokens that are a grid, row by row, without a class token: in windows, with relative positions, or both.
#[derive(Debug, Clone)]
pub struct GridAttention {
    /// Rows and columns of tokens.
    pub grid: (usize, usize),
    /// Side of the square windows that attend on their own, from the upper left corner on. Those that reach over the border
    /// are filled with zeros after the norm, which keys and values make their biases of (as detectron2 does).
    pub window: Option<usize>,
    /// `rel_pos_h` and `rel_pos_w` of decomposed relative positions (arXiv 2203.16527), `[2 * side - 1, head width]`. Tables
    /// of another side are resized linearly.
    pub rel_pos: Option<[Tensor; 2]>,
}

impl GridAttention {
    /// Rows and columns of what attends together.
    pub(crate) fn attending(&self) -> (usize, usize) {
        self.window.map_or(self.grid, |side| (side, side))
    }

    /// # Errors
    /// When a size is zero or a table has another width.
    pub(super) fn check(&self, width: usize) -> Result<()> {
        if self.grid.0 == 0 || self.grid.1 == 0 || self.window == Some(0) {
            bail!("attention over a grid of {:?} in windows of {:?}", self.grid, self.window);
        }
        for table in self.rel_pos.iter().flatten() {
            match table.dims() {
                [rows, cols] if *rows > 0 && *cols == width => {}
                other => bail!("relative positions of shape {other:?}, expected [_, {width}]"),
            }
            if table.track_op() && !table.is_variable() {
                bail!("relative positions that are computed from variables");
            }
        }
        Ok(())
    }

    /// What attention takes; `bias` is that of queries, keys and values.
    pub(super) fn prepare<T: Element>(&self, heads: Heads, bias: &[f32]) -> Result<Grid<T>> {
        let (rows, cols) = self.grid;
        let mut padding = vec![T::from_f32(0.0); bias.len()];
        convert_row(bias, 1.0, &mut padding);
        Ok(Grid {
            windows: self.window.map(|side| Windows { rows, cols, side }),
            positions: match &self.rel_pos {
                Some(tables) => {
                    let table = self.table(tables, heads.width)?;
                    Some(Positions::new(&table, self.attending(), heads.width))
                }
                None => None,
            },
            padding,
        })
    }

    /// Both tables in the order that attention takes.
    fn table(&self, tables: &[Tensor; 2], width: usize) -> Result<Vec<f32>> {
        let (rows, cols) = self.attending();
        let mut all = Vec::with_capacity(distances((rows, cols)) * width);
        for (table, side) in tables.iter().zip([rows, cols]) {
            let values = Numbers::of(table)?;
            for taps in resized(table.dim(0)?, 2 * side - 1) {
                let start = all.len();
                all.resize(start + width, 0.0);
                for (row, weight) in taps {
                    let from = &values[row * width..][..width];
                    all[start..].iter_mut().zip(from).for_each(|(to, x)| *to += weight * x);
                }
            }
        }
        Ok(all)
    }

    /// Collects the tables' gradients from that of [`GridAttention::table`].
    pub(super) fn collect(&self, gradient: &[f32], collector: &Collector) -> Result<()> {
        let Some(tables) = &self.rel_pos else { return Ok(()) };
        let (rows, cols) = self.attending();
        let width = tables[0].dim(1)?;
        let (of_rows, of_cols) = gradient.split_at((2 * rows - 1) * width);
        for ((table, side), gradient) in tables.iter().zip([rows, cols]).zip([of_rows, of_cols]) {
            let mut sums = vec![0.0; table.elem_count()];
            let lines = resized(table.dim(0)?, 2 * side - 1);
            for (taps, from) in lines.into_iter().zip(gradient.chunks_exact(width)) {
                for (row, weight) in taps {
                    let to = &mut sums[row * width..][..width];
                    to.iter_mut().zip(from).for_each(|(to, x)| *to += weight * x);
                }
            }
            collector.add_vector(table, &sums);
        }
        Ok(())
    }

    /// The variables among the tables.
    pub(super) fn tensors(&self) -> impl Iterator<Item = &Tensor> {
        self.rel_pos.iter().flatten()
    }
}

/// Two rows of a table of `from` and their weights for each of `to` distances, the largest first: linear resizing without
/// aligned corners, as detectron2 does; nothing is mixed where the sizes agree.
pub(crate) fn resized(from: usize, to: usize) -> Vec<[(usize, f32); 2]> {
    let scale = from as f32 / to as f32;
    let taps = |place: usize| {
        if from == to {
            return [(place, 1.0), (place, 0.0)];
        }
        let source = ((place as f32 + 0.5) * scale - 0.5).max(0.0);
        let low = (source as usize).min(from - 1);
        let part = source - low as f32;
        [(low, 1.0 - part), ((low + 1).min(from - 1), part)]
    };
    (0..to).rev().map(taps).collect()
}
