use longmae_patching::PatchGrid;
use rand::seq::SliceRandom;
use rand::{Rng, RngCore};

use crate::{MaskDesign, MaskPlan, MaskStrategy, MaskUnits, Result};

/// Block aspect ratios lie between this and its inverse (BEiT, arXiv 2106.08254, algorithm 1).
const SMALLEST_ASPECT: f64 = 0.3;
/// The smallest block of a long sequence, in units, as BEiT's 16 patches.
const SMALLEST_BLOCK: usize = 16;

/// Large rectangles of units hidden until the ratio is reached: the "block-wise" masking of MAE's ablation
/// (arXiv 2111.06377, table 1f), after BEiT.
#[derive(Debug, Clone, Copy)]
pub struct BlockMask(MaskDesign);

impl BlockMask {
    /// Block-wise masking of the given design.
    pub fn new(design: MaskDesign) -> Self {
        Self(design)
    }
}

impl MaskStrategy for BlockMask {
    fn plan(&self, grid: PatchGrid, mut rng: &mut dyn RngCore) -> Result<MaskPlan> {
        let (units, kept) = self.0.on(grid)?;
        let to_remove = grid.len() - kept;
        let mut hidden = vec![false; units.len()];
        let mut removal = Vec::new();
        let mut removed = 0;
        while removed < to_remove {
            for unit in random_block(&units, &mut rng) {
                if !std::mem::replace(&mut hidden[unit], true) {
                    removed += units.patches(unit).count();
                    removal.push(unit);
                }
            }
        }
        // The order puts units that no block touched first and the last block's next, so that what the
        // last block hid beyond the ratio is what becomes visible again.
        let mut order: Vec<usize> = (0..units.len()).filter(|unit| !hidden[*unit]).collect();
        order.shuffle(&mut rng);
        order.extend(removal.into_iter().rev());
        MaskPlan::from_order(&units.expand(&order)?, kept)
    }
}

/// The units of one random rectangle.
fn random_block(units: &MaskUnits, rng: &mut impl Rng) -> Vec<usize> {
    let (rows, cols) = (units.rows(), units.cols());
    let largest = (units.len() / 2).max(1);
    let area = rng.random_range(SMALLEST_BLOCK.min(largest)..=largest) as f64;
    let aspect = rng.random_range(SMALLEST_ASPECT.ln()..=-SMALLEST_ASPECT.ln()).exp();
    let height = ((area * aspect).sqrt().round() as usize).clamp(1, rows);
    let width = ((area / aspect).sqrt().round() as usize).clamp(1, cols);
    let top = rng.random_range(0..=rows - height);
    let left = rng.random_range(0..=cols - width);
    (top..top + height)
        .flat_map(|row| (left..left + width).map(move |col| row * cols + col))
        .collect()
}
