use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};

use crate::buffer::unset;
use crate::matrix::SharedMut;
use crate::numbers::{Numbers, slice};
use crate::parallel::parallel_pieces;
use crate::rows::pixel::{error_slope, normalise};
use crate::rows::sums::squares_between;
use crate::{Compute, reference};

/// MAE's objective: the mean of the patches' mean squared errors, each patch with its weight (arXiv 2111.06377).
///
/// With `normalise`, the target is each patch less its mean, over the root of its unbiased variance plus 1e-6
/// (`norm_pix_loss`). A prediction may have rows in front that are no patch, such as a class token's: they are left
/// out, and get no gradient; so do predictions of weight zero, whatever they are.
///
/// Weights that sum to zero leave nothing to average: the result is NaN.
///
/// # Shapes
/// `pred` `[batch, patches, pixels]` or with more rows in front, `patches` `[batch, patches, pixels]`, `weights`
/// `[batch, patches]`; the result is a scalar. Gradients reach `pred` alone.
///
/// # Errors
/// When the shapes do not fit.
pub fn pixel_loss(
    pred: &Tensor,
    patches: &Tensor,
    weights: &Tensor,
    norm_pix: bool,
    compute: Compute,
) -> Result<Tensor> {
    let (batch, count, pixels) = patches.dims3()?;
    let (_, rows, _) = pred.dims3()?;
    let fits = rows >= count && pred.dims() == [batch, rows, pixels];
    if !fits || pixels == 0 || weights.dims() != [batch, count] {
        let (pred, patches, weights) = (pred.dims(), patches.dims(), weights.dims());
        bail!("a loss of predictions {pred:?} for patches {patches:?} with weights {weights:?}");
    }
    #[cfg(feature = "cuda")]
    if compute.fused_on_gpu(pred.device()) {
        return crate::cuda::pixel_loss(pred, patches, weights, norm_pix);
    }
    if !compute.fused(pred.device()) {
        let pred = pred.narrow(1, rows - count, count)?;
        return reference::pixel_loss(&pred, patches, weights, norm_pix);
    }
    let weights = weights.contiguous()?.flatten_all()?.to_vec1::<f32>()?;
    let op = PixelLoss {
        patches: patches.contiguous()?.detach(),
        weights,
        front: rows - count,
        rows: count,
        pixels,
        norm_pix,
    };
    pred.contiguous()?.apply_op1(op)
}

struct PixelLoss {
    patches: Tensor,
    weights: Vec<f32>,
    /// Rows of a sample's prediction before its patches.
    front: usize,
    /// Patches of a sample.
    rows: usize,
    pixels: usize,
    norm_pix: bool,
}

impl PixelLoss {
    /// Where a patch's prediction begins.
    fn place(&self, patch: usize) -> usize {
        let (sample, row) = (patch / self.rows, patch % self.rows);
        (sample * (self.front + self.rows) + self.front + row) * self.pixels
    }

    fn target(&self, patches: &[f32], patch: usize, target: &mut [f32]) {
        target.copy_from_slice(&patches[patch * self.pixels..][..self.pixels]);
        if self.norm_pix {
            normalise(target);
        }
    }

    fn total_weight(&self) -> f64 {
        self.weights.iter().map(|weight| f64::from(*weight)).sum()
    }
}

impl CustomOp1 for PixelLoss {
    fn name(&self) -> &'static str {
        "pixel-loss"
    }

    fn cpu_fwd(&self, pred: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let pred = slice(pred, layout)?;
        let patches = Numbers::of(&self.patches)?;
        let (patches, pixels): (&[f32], usize) = (&patches, self.pixels);
        let mut errors = vec![0.0_f32; self.weights.len()];
        let shared = SharedMut::new(&mut errors);
        parallel_pieces(self.weights.len(), 16, |start, end| {
            let mut target = vec![0.0; pixels];
            // SAFETY: each task has its own part.
            let errors = unsafe { shared.part(start, end) };
            for (patch, error) in (start..end).zip(errors) {
                if self.weights[patch] != 0.0 {
                    self.target(patches, patch, &mut target);
                    let pred = &pred[self.place(patch)..][..pixels];
                    *error = squares_between(pred, &target) / pixels as f32;
                }
            }
        });
        let weighted = errors.iter().zip(&self.weights).map(|(e, w)| f64::from(*e) * f64::from(*w));
        let loss = weighted.sum::<f64>() / self.total_weight();
        Ok((CpuStorage::F32(vec![loss as f32]), Shape::from(())))
    }

    fn bwd(&self, pred: &Tensor, _loss: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let gradient = f64::from(gradient.to_scalar::<f32>()?);
        let factor = gradient * 2.0 / (self.pixels as f64 * self.total_weight());
        let values = Numbers::of(pred)?;
        let patches = Numbers::of(&self.patches)?;
        let (values, patches, pixels): (&[f32], &[f32], usize) = (&values, &patches, self.pixels);
        let mut out = unset::<f32>(values.len());
        let rows = self.front + self.rows;
        let shared = SharedMut::new(&mut out);
        parallel_pieces(values.len() / pixels, 16, |start, end| {
            for place in start..end {
                // SAFETY: each task has its own rows.
                let out = unsafe { shared.part(place * pixels, (place + 1) * pixels) };
                let (sample, row) = (place / rows, place % rows);
                let patch = row.checked_sub(self.front).map(|row| sample * self.rows + row);
                match patch.filter(|patch| self.weights[*patch] != 0.0) {
                    Some(patch) => {
                        self.target(patches, patch, out);
                        let factor = (factor * f64::from(self.weights[patch])) as f32;
                        error_slope(&values[place * pixels..][..pixels], factor, out);
                    }
                    None => out.fill(0.0),
                }
            }
        });
        Ok(Some(Tensor::from_vec(out, pred.shape(), pred.device())?))
    }
}
