use longmae_patching::PatchGrid;
use rand::seq::SliceRandom;
use rand::{Rng, RngCore};

use crate::{Error, MaskDesign, MaskPlan, MaskStrategy, MaskUnits, Result};

/// One unit of every k x k kept, in a regular grid: the "grid-wise" masking of MAE's ablation
/// (arXiv 2111.06377, table 1f). The grid's phase is drawn for each image.
///
/// Where the units do not divide into k x k cells, a phase can have fewer or more units than every plan keeps:
/// units drawn at random fill up, or the last ones are hidden.
#[derive(Debug, Clone, Copy)]
pub struct GridMask(MaskDesign);

impl GridMask {
    /// Grid-wise masking of the given design; its ratio must be `1 - 1/k^2`.
    pub fn new(design: MaskDesign) -> Self {
        Self(design)
    }

    fn spacing(&self, units: &MaskUnits) -> Result<usize> {
        let ratio = self.0.ratio;
        let spacing = (1.0 - ratio).recip().sqrt().round();
        // Ratios are typed with few digits: 0.8889 is meant as 8/9.
        let regular = (1.0 - spacing.powi(-2) - ratio).abs() < 1e-3 && spacing >= 2.0;
        let spacing = regular.then_some(spacing as usize).ok_or(Error::IrregularRatio { ratio })?;
        let (rows, cols) = (units.rows(), units.cols());
        if spacing > rows.min(cols) {
            return Err(Error::GridSpacing { ratio, spacing, rows, cols });
        }
        Ok(spacing)
    }
}

impl MaskStrategy for GridMask {
    fn plan(&self, grid: PatchGrid, mut rng: &mut dyn RngCore) -> Result<MaskPlan> {
        let (units, kept) = self.0.on(grid)?;
        let spacing = self.spacing(&units)?;
        let phase = (rng.random_range(0..spacing), rng.random_range(0..spacing));
        let on_grid = |unit: &usize| {
            let place = (unit / units.cols(), unit % units.cols());
            place.0 % spacing == phase.0 && place.1 % spacing == phase.1
        };
        let (mut order, mut rest): (Vec<usize>, Vec<usize>) = (0..units.len()).partition(on_grid);
        order.shuffle(&mut rng);
        rest.shuffle(&mut rng);
        order.append(&mut rest);
        MaskPlan::from_order(&units.expand(&order)?, kept)
    }
}
