use longmae_patching::PatchGrid;

use crate::{Error, Result};

/// A patch grid seen in mask units: squares of `unit` x `unit` patches that are shuffled as one.
///
/// Units at the right and lower edge of a grid that they do not divide are ragged: they have fewer patches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaskUnits {
    grid: PatchGrid,
    unit: usize,
}

impl MaskUnits {
    /// Units of `unit` x `unit` patches over `grid`.
    ///
    /// # Errors
    /// When the unit is zero, larger than the grid, or all of it: a single unit cannot be hidden in part.
    pub fn new(grid: PatchGrid, unit: usize) -> Result<Self> {
        let largest = largest_unit(grid);
        if unit == 0 || unit > largest {
            let (rows, cols) = (grid.rows(), grid.cols());
            return Err(Error::Unit { unit, largest, rows, cols });
        }
        Ok(Self { grid, unit })
    }

    /// The patch grid below.
    pub fn grid(&self) -> PatchGrid {
        self.grid
    }

    /// Side of a unit in patches.
    pub fn unit(&self) -> usize {
        self.unit
    }

    /// Units from top to bottom.
    pub fn rows(&self) -> usize {
        self.grid.rows().div_ceil(self.unit)
    }

    /// Units from left to right.
    pub fn cols(&self) -> usize {
        self.grid.cols().div_ceil(self.unit)
    }

    /// Number of units.
    #[allow(clippy::len_without_is_empty, reason = "a grid always has units")]
    pub fn len(&self) -> usize {
        self.rows() * self.cols()
    }

    /// Whether some units have fewer patches than others.
    pub fn ragged(&self) -> bool {
        !self.grid.rows().is_multiple_of(self.unit) || !self.grid.cols().is_multiple_of(self.unit)
    }

    /// The patches of one unit, column by column; those outside the grid are left out.
    pub fn patches(&self, unit: usize) -> impl Iterator<Item = u32> + use<> {
        let Self { grid, unit: side } = *self;
        let (top, left) = (unit / self.cols() * side, unit % self.cols() * side);
        (left..(left + side).min(grid.cols())).flat_map(move |col| {
            (top..(top + side).min(grid.rows())).map(move |row| (row * grid.cols() + col) as u32)
        })
    }

    /// The order of patches that an order of units gives.
    ///
    /// # Errors
    /// When `order` is not a permutation of the units.
    pub fn expand(&self, order: &[usize]) -> Result<Vec<u32>> {
        check_permutation("units", self.len(), order.iter().copied())?;
        Ok(order.iter().flat_map(|unit| self.patches(*unit)).collect())
    }
}

/// The largest unit of which there is more than one; on a grid of one patch, that patch.
fn largest_unit(grid: PatchGrid) -> usize {
    (grid.rows().max(grid.cols()) - 1).max(1)
}

/// Checks that `ids` holds each number below `expected` once.
pub(crate) fn check_permutation(
    what: &'static str,
    expected: usize,
    ids: impl ExactSizeIterator<Item = usize>,
) -> Result<()> {
    let wrong = |problem| Err(Error::NotAPermutation { what, expected, problem });
    if ids.len() != expected {
        return wrong(format!("it has {} entries", ids.len()));
    }
    let mut seen = vec![false; expected];
    for id in ids {
        match seen.get_mut(id) {
            None => return wrong(format!("entry {id} is out of range")),
            Some(true) => return wrong(format!("entry {id} appears twice")),
            Some(fresh) => *fresh = true,
        }
    }
    Ok(())
}
