use crate::Result;
use crate::units::check_permutation;

/// Which patches of one image the encoder sees, and how to put the sequence back in order.
///
/// A plan is an order of all patches whose first `kept` entries are visible. In [`MaskPlan::mask`], 1 is
/// removed and 0 is kept, as in the papers.
///
/// ```
/// use longmae_masking::MaskPlan;
/// # fn main() -> longmae_masking::Result<()> {
/// let plan = MaskPlan::from_order(&[2, 0, 3, 1], 1)?;
/// assert_eq!(plan.ids_keep(), [2]);
/// assert_eq!(plan.ids_restore(), [1, 3, 0, 2]);
/// assert_eq!(plan.mask(), [1.0, 1.0, 0.0, 1.0]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MaskPlan {
    ids_keep: Vec<u32>,
    ids_restore: Vec<u32>,
}

impl MaskPlan {
    /// The plan that keeps the first `kept` patches of `order`; `kept` larger than the order keeps all.
    ///
    /// # Errors
    /// When `order` is not a permutation of the patches.
    pub fn from_order(order: &[u32], kept: usize) -> Result<Self> {
        check_permutation("patches", order.len(), order.iter().map(|id| *id as usize))?;
        let mut ids_restore = vec![0; order.len()];
        for (place, id) in order.iter().enumerate() {
            ids_restore[*id as usize] = place as u32;
        }
        let ids_keep = order[..kept.min(order.len())].to_vec();
        Ok(Self { ids_keep, ids_restore })
    }

    /// Visible patches, in shuffle order.
    pub fn ids_keep(&self) -> &[u32] {
        &self.ids_keep
    }

    /// For each patch its place in the shuffled sequence; a place of [`MaskPlan::kept`] or more is hidden.
    pub fn ids_restore(&self) -> &[u32] {
        &self.ids_restore
    }

    /// Number of visible patches.
    pub fn kept(&self) -> usize {
        self.ids_keep.len()
    }

    /// Number of patches, visible and hidden.
    pub fn patches(&self) -> usize {
        self.ids_restore.len()
    }

    /// Whether a patch is hidden from the encoder.
    ///
    /// # Panics
    /// When there is no such patch.
    pub fn is_removed(&self, patch: usize) -> bool {
        self.ids_restore[patch] as usize >= self.kept()
    }

    /// One number a patch, row by row: 1 is removed, 0 is kept.
    pub fn mask(&self) -> Vec<f32> {
        (0..self.patches()).map(|patch| f32::from(self.is_removed(patch))).collect()
    }
}
