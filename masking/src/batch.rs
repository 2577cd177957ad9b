use candle_core::{Device, Tensor};

use crate::{Error, MaskPlan, Result};

/// The plans of a batch as tensors.
#[derive(Debug, Clone)]
pub struct MaskBatch {
    /// Visible patches in shuffle order, `[batch, kept]`, u32.
    pub ids_keep: Tensor,
    /// Place of each patch in the shuffled sequence, `[batch, patches]`, u32.
    pub ids_restore: Tensor,
    /// 1 is removed, 0 is kept, `[batch, patches]`, f32.
    pub mask: Tensor,
}

impl MaskBatch {
    /// Stacks plans of equal size.
    ///
    /// # Errors
    /// When there is none or they differ in size.
    pub fn stack(plans: &[MaskPlan], device: &Device) -> Result<Self> {
        let first = plans.first().ok_or(Error::EmptyBatch)?;
        let (kept, patches) = (first.kept(), first.patches());
        if let Some(odd) = plans.iter().find(|p| (p.kept(), p.patches()) != (kept, patches)) {
            let (found, found_patches) = (odd.kept(), odd.patches());
            return Err(Error::Uneven { found, found_patches, kept, patches });
        }
        let batch = plans.len();
        let keep: Vec<u32> = plans.iter().flat_map(|p| p.ids_keep()).copied().collect();
        let restore: Vec<u32> = plans.iter().flat_map(|p| p.ids_restore()).copied().collect();
        let mask: Vec<f32> = plans.iter().flat_map(MaskPlan::mask).collect();
        Ok(Self {
            ids_keep: Tensor::from_vec(keep, (batch, kept), device)?,
            ids_restore: Tensor::from_vec(restore, (batch, patches), device)?,
            mask: Tensor::from_vec(mask, (batch, patches), device)?,
        })
    }
}
