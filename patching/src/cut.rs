//! Cutting patches out of images that need no gradient: straight copies instead of a general permutation.

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};

use crate::PatchGrid;

/// The order of the numbers in a patch vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// Channel, row, column: that of a convolution's weight.
    ChannelFirst,
    /// Row, column, channel: that of MAE's targets.
    ChannelLast,
}

/// Patches of `images` `[batch, channels, height, width]`, all or the `picked` of each sample, as
/// `[batch, patches, patch * patch * channels]`. Ids must lie in the grid.
pub(crate) struct Cut<'a> {
    pub grid: PatchGrid,
    pub order: Order,
    pub picked: Option<&'a [u32]>,
}

impl Cut<'_> {
    /// # Errors
    /// When the images are not contiguous f32 on the CPU.
    pub fn of(&self, images: &Tensor) -> Result<Tensor> {
        images.contiguous()?.apply_op1_no_bwd(self)
    }

    /// Appends one patch of one image.
    fn append(&self, image: &[f32], patch: usize, out: &mut Vec<f32>) {
        let (height, width) = self.grid.image_size();
        let p = self.grid.patch();
        let plane = height * width;
        let corner = patch / self.grid.cols() * p * width + patch % self.grid.cols() * p;
        match self.order {
            Order::ChannelFirst => {
                for channel in image.chunks_exact(plane) {
                    for row in 0..p {
                        out.extend_from_slice(&channel[corner + row * width..][..p]);
                    }
                }
            }
            Order::ChannelLast => {
                for row in 0..p {
                    for at in (corner + row * width..).take(p) {
                        out.extend(image[at..].iter().step_by(plane));
                    }
                }
            }
        }
    }
}

impl CustomOp1 for Cut<'_> {
    fn name(&self) -> &'static str {
        "cut-patches"
    }

    fn cpu_fwd(&self, images: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (batch, channels, height, width) = layout.shape().dims4()?;
        let CpuStorage::F32(values) = images else { bail!("patches of images that are not f32") };
        let values = &values[layout.start_offset()..];
        let each = channels * height * width;
        let all: Vec<u32> = (0..self.grid.len() as u32).collect();
        let count =
            self.picked.map_or(all.len(), |picked| picked.len().checked_div(batch).unwrap_or(0));
        let pixels = channels * self.grid.patch().pow(2);
        let mut out = Vec::with_capacity(batch * count * pixels);
        for (sample, image) in values.chunks_exact(each).take(batch).enumerate() {
            let ids = match self.picked {
                Some(picked) => &picked[sample * count..][..count],
                None => &all[..],
            };
            for id in ids {
                self.append(image, *id as usize, &mut out);
            }
        }
        Ok((CpuStorage::F32(out), (batch, count, pixels).into()))
    }
}
