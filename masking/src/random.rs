use longmae_patching::PatchGrid;
use rand::RngCore;
use rand::seq::SliceRandom;

use crate::{MaskDesign, MaskPlan, MaskStrategy, Result};

/// Units hidden uniformly at random: the papers' masking.
#[derive(Debug, Clone, Copy)]
pub struct RandomMask(MaskDesign);

impl RandomMask {
    /// Random masking of the given design.
    pub fn new(design: MaskDesign) -> Self {
        Self(design)
    }
}

impl MaskStrategy for RandomMask {
    fn plan(&self, grid: PatchGrid, mut rng: &mut dyn RngCore) -> Result<MaskPlan> {
        let (units, kept) = self.0.on(grid)?;
        let mut order: Vec<usize> = (0..units.len()).collect();
        order.shuffle(&mut rng);
        MaskPlan::from_order(&units.expand(&order)?, kept)
    }
}
