use candle_core::Tensor;
use longmae_ops::{Compute, pixel_loss};
use longmae_patching::PatchGrid;

use crate::Result;

/// The mean over removed patches of the per-patch mean squared error (arXiv 2111.06377).
///
/// With `norm_pix` the pixels of `patches` are normalised patch by patch first (`norm_pix_loss`).
///
/// Where one predicted patch covers several masked ones, the share of it that is removed is its weight.
///
/// # Shapes
/// `pred` and `patches` `[batch, predicted patches, pixels]` (`pred` may have a class token's row in front); `mask` `[batch, patches]` on `grid`, 1 is removed;
/// `coarsening` is the side of a predicted patch in patches. The result is a scalar.
///
/// A mask that removes nothing leaves nothing to average: the result is NaN.
///
/// # Errors
/// When the shapes do not fit.
pub fn masked_pixel_loss(
    pred: &Tensor,
    patches: &Tensor,
    mask: &Tensor,
    (grid, coarsening): (PatchGrid, usize),
    norm_pix: bool,
    compute: Compute,
) -> Result<Tensor> {
    let weight = coarsen(mask, grid, coarsening)?;
    Ok(pixel_loss(pred, patches, &weight, norm_pix, compute)?)
}

/// Averages a mask `[batch, patches]` over squares of `factor` x `factor` patches.
fn coarsen(mask: &Tensor, grid: PatchGrid, factor: usize) -> Result<Tensor> {
    if factor == 1 {
        return Ok(mask.clone());
    }
    let batch = mask.dim(0)?;
    let (rows, cols) = (grid.rows() / factor, grid.cols() / factor);
    Ok(mask
        .reshape((batch, rows, factor, cols, factor))?
        .mean(4)?
        .mean(2)?
        .reshape((batch, rows * cols))?)
}
