use candle_core::Tensor;
use longmae_ops::{Compute, Init, Kernels, Params, gather_tokens, linear};

use crate::cut::{Cut, Order};
use crate::patchify::{can_cut, check_images, patchify};
use crate::{Error, PatchGrid, Result, Tokenizer};

/// The learned linear patch embedding, kept in a checkpoint as the convolution it equals:
/// `proj.weight` `[dim, channels, patch, patch]`, `proj.bias` `[dim]`.
///
/// Only the patches that are asked for are embedded, so a masked sequence costs its visible part.
#[derive(Debug, Clone)]
pub struct PatchEmbed {
    grid: PatchGrid,
    channels: usize,
    weight: Tensor,
    bias: Tensor,
    compute: Compute,
}

impl PatchEmbed {
    /// Defines the embedding's parameters, Xavier uniform as a linear layer (arXiv 2111.06377, A.1).
    ///
    /// # Errors
    /// When a parameter's name is taken.
    pub fn new(grid: PatchGrid, channels: usize, dim: usize, params: &Params) -> Result<Self> {
        let p = grid.patch();
        let params = params.pp("proj");
        let init = Init::XavierUniform { fan_in: channels * p * p, fan_out: dim };
        Ok(Self {
            grid,
            channels,
            weight: params.weight("weight", (dim, channels, p, p), init)?,
            bias: params.weight("bias", dim, Init::Zeros)?,
            compute: params.compute(),
        })
    }
}

impl PatchEmbed {
    /// The same embedding for images of another grid.
    ///
    /// # Errors
    /// When its patches are of another size.
    pub fn on_grid(&self, grid: PatchGrid) -> Result<Self> {
        if grid.patch() != self.grid.patch() {
            let expected = format!("patches of {}", self.grid.patch());
            return Err(Error::ImageShape { found: vec![grid.patch()], expected });
        }
        Ok(Self { grid, ..self.clone() })
    }

    /// The ids of all samples in one list, each inside the grid.
    fn check_ids(&self, ids: &Tensor, images: &Tensor) -> Result<Vec<u32>> {
        let (batch, patches) = (images.dim(0)?, self.grid.len());
        if ids.rank() != 2 || ids.dim(0)? != batch {
            return Err(Error::Ids { found: ids.dims().to_vec(), batch });
        }
        let ids = ids.flatten_all()?.to_vec1::<u32>()?;
        match ids.iter().find(|id| **id as usize >= patches) {
            Some(id) => Err(Error::Position { id: *id, patches }),
            None => Ok(ids),
        }
    }
}

impl Tokenizer for PatchEmbed {
    fn tokens(&self, images: &Tensor, positions: Option<&Tensor>) -> Result<Tensor> {
        let (_, channels) = check_images(images, self.grid)?;
        if channels != self.channels {
            return Err(Error::ImageShape {
                found: images.dims().to_vec(),
                expected: format!("{} channels", self.channels),
            });
        }
        if self.compute.kernels == Kernels::Fused && can_cut(images) {
            let ids = positions.map(|ids| self.check_ids(ids, images)).transpose()?;
            let cut = Cut { grid: self.grid, order: Order::ChannelFirst, picked: ids.as_deref() };
            // In the convolution's own order the weight needs no turning.
            let weight = self.weight.flatten_from(1)?;
            return Ok(linear(&cut.of(images)?, &weight, Some(&self.bias), self.compute)?);
        }
        let mut patches = patchify(images, self.grid)?;
        if let Some(ids) = positions {
            patches = gather_tokens(&patches, ids, self.compute)?;
        }
        // From the convolution's (channel, row, column) to the patch vector's (row, column, channel).
        let weight = self.weight.permute((0, 2, 3, 1))?.flatten_from(1)?;
        Ok(linear(&patches, &weight, Some(&self.bias), self.compute)?)
    }

    fn width(&self) -> usize {
        self.bias.elem_count()
    }
}
