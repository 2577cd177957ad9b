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

    /// The same on another device. Ids are checked before they leave the CPU: a GPU that meets one beyond the sequence
    /// cannot say so without being waited for.
    ///
    /// # Errors
    /// When an id lies outside the sequence, or the device has no room.
    pub fn to_device(&self, device: &Device) -> Result<Self> {
        if !device.is_cpu() {
            self.check_ids()?;
        }
        Ok(Self {
            ids_keep: self.ids_keep.to_device(device)?,
            ids_restore: self.ids_restore.to_device(device)?,
            mask: self.mask.to_device(device)?,
        })
    }

    /// An error if an id that lies on the CPU is none of the sequence's.
    fn check_ids(&self) -> Result<()> {
        let patches = self.mask.dim(1)?;
        for ids in [&self.ids_keep, &self.ids_restore] {
            if !ids.device().is_cpu() {
                continue;
            }
            let ids = ids.flatten_all()?.to_vec1::<u32>()?;
            if let Some(id) = ids.into_iter().find(|id| *id as usize >= patches) {
                return Err(Error::Position { id, patches });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_beyond_the_sequence_do_not_leave_the_cpu() {
        let plans = [MaskPlan::from_order(&[2, 0, 1], 1).unwrap()];
        let masks = MaskBatch::stack(&plans, &Device::Cpu).unwrap();
        masks.check_ids().unwrap();
        let beyond = Tensor::new(&[[0u32, 3, 1]], &Device::Cpu).unwrap();
        for wrong in [
            MaskBatch { ids_restore: beyond.clone(), ..masks.clone() },
            MaskBatch { ids_keep: beyond, ..masks },
        ] {
            let refused = wrong.check_ids();
            assert!(matches!(refused, Err(Error::Position { id: 3, patches: 3 })), "{refused:?}");
        }
    }
}
