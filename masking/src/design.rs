use longmae_patching::PatchGrid;
use rand::RngCore;

use crate::{BlockMask, Error, GridMask, MaskCount, MaskPlan, MaskUnits, RandomMask, Result};

/// Decides which patches of an image are hidden.
pub trait MaskStrategy: Send + Sync {
    /// The plan for one image. Every plan of a strategy on one grid keeps the same number of patches.
    ///
    /// # Errors
    /// When the strategy's settings do not fit the grid.
    fn plan(&self, grid: PatchGrid, rng: &mut dyn RngCore) -> Result<MaskPlan>;
}

/// What all strategies here share: size of the mask unit, ratio and count.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MaskDesign {
    /// Side of a mask unit in patches (1 is MAE's own masking).
    pub unit: usize,
    /// Share of patches hidden, above 0 and below 1.
    pub ratio: f64,
    /// How the number of visible patches is rounded.
    pub count: MaskCount,
}

impl MaskDesign {
    /// The design on a grid: its units and the number of visible patches.
    ///
    /// # Errors
    /// When unit, ratio or count do not fit the grid.
    pub fn on(&self, grid: PatchGrid) -> Result<(MaskUnits, usize)> {
        let units = MaskUnits::new(grid, self.unit)?;
        let kept = self.count.kept(&units, self.ratio)?;
        Ok((units, kept))
    }

    /// The strategy of that name: `random`, `block` or `grid`.
    ///
    /// # Errors
    /// When there is no such strategy.
    pub fn strategy(self, name: &str) -> Result<Box<dyn MaskStrategy>> {
        match name {
            "random" => Ok(Box::new(RandomMask::new(self))),
            "block" => Ok(Box::new(BlockMask::new(self))),
            "grid" => Ok(Box::new(GridMask::new(self))),
            _ => Err(Error::UnknownName {
                what: "mask strategy",
                found: name.to_owned(),
                expected: "random, block, grid",
            }),
        }
    }
}
