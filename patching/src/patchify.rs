use candle_core::{DType, Tensor};

use crate::cut::{Cut, Order};
use crate::{Error, PatchGrid, Result};

/// Cuts images into patch vectors, each in (row, column, channel) order.
///
/// # Shapes
/// `images` `[batch, channels, height, width]`; the result is `[batch, patches, patch * patch * channels]`,
/// patches row by row.
///
/// # Errors
/// When the images are not of the grid's size.
pub fn patchify(images: &Tensor, grid: PatchGrid) -> Result<Tensor> {
    let (batch, channels) = check_images(images, grid)?;
    if can_cut(images) {
        return Ok(Cut { grid, order: Order::ChannelLast, picked: None }.of(images)?);
    }
    let p = grid.patch();
    Ok(images
        .reshape(&[batch, channels, grid.rows(), p, grid.cols(), p][..])?
        .permute(vec![0, 2, 4, 3, 5, 1])?
        .reshape((batch, grid.len(), p * p * channels))?)
}

/// Puts patch vectors together again: the inverse of [`patchify`].
///
/// # Shapes
/// `patches` `[batch, patches, patch * patch * channels]`; the result is `[batch, channels, height, width]`.
///
/// # Errors
/// When the patches are not those of the grid.
pub fn unpatchify(patches: &Tensor, grid: PatchGrid) -> Result<Tensor> {
    let (batch, _, width) = patches.dims3()?;
    let p = grid.patch();
    let channels = width / (p * p);
    let (image_height, image_width) = grid.image_size();
    Ok(patches
        .reshape(&[batch, grid.rows(), grid.cols(), p, p, channels][..])?
        .permute(vec![0, 5, 1, 3, 2, 4])?
        .reshape((batch, channels, image_height, image_width))?)
}

/// Whether patches can be copied out: f32 images on the CPU that need no gradient.
pub(crate) fn can_cut(images: &Tensor) -> bool {
    images.device().is_cpu() && images.dtype() == DType::F32 && !images.track_op()
}

/// Batch size and channels of images that fit the grid.
pub(crate) fn check_images(images: &Tensor, grid: PatchGrid) -> Result<(usize, usize)> {
    match *images.dims() {
        [batch, channels, height, width] if (height, width) == grid.image_size() => {
            Ok((batch, channels))
        }
        _ => {
            let (height, width) = grid.image_size();
            Err(Error::ImageShape {
                found: images.dims().to_vec(),
                expected: format!("height {height} and width {width}"),
            })
        }
    }
}
