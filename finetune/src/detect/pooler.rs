use candle_core::Tensor;
use longmae_ops::{Compute, Roi, roi_align};

use super::boxes::area;
use crate::Result;

/// Features under boxes, each from the map of the pyramid that fits its size (arXiv 1612.03144, equation 1; detectron2's
/// `ROIPooler`).
#[derive(Debug, Clone, PartialEq)]
pub struct Pooler {
    /// Numbers a side.
    pub side: usize,
    /// Pixels of the image to a pixel of each map, each twice the one before.
    pub strides: Vec<usize>,
}

impl Pooler {
    /// Which map a box belongs to: one of 224 pixels to that of stride 16.
    pub fn level(&self, roi: &Roi) -> usize {
        let size = area(roi.corners).max(0.0).sqrt();
        let level = (4.0 + (size / 224.0 + 1e-8).log2()).floor();
        let first = self.strides.first().map_or(0, |stride| stride.ilog2()) as f32;
        let last = self.strides.len().saturating_sub(1) as f32;
        (level - first).clamp(0.0, last) as usize
    }

    /// `[boxes, side, side, channels]` from maps `[batch, .., .., channels]`. There must be a box.
    ///
    /// # Errors
    /// When a box is of an image that is not in the batch.
    pub fn forward(&self, maps: &[Tensor], rois: &[Roi], compute: Compute) -> Result<Tensor> {
        let levels: Vec<usize> = rois.iter().map(|roi| self.level(roi)).collect();
        let (mut parts, mut order) = (Vec::new(), Vec::with_capacity(rois.len()));
        for (level, (map, stride)) in maps.iter().zip(&self.strides).enumerate() {
            let own: Vec<usize> = (0..rois.len()).filter(|i| levels[*i] == level).collect();
            if own.is_empty() {
                continue;
            }
            let boxes: Vec<Roi> = own.iter().map(|i| rois[*i]).collect();
            parts.push(roi_align(map, &boxes, self.side, 1.0 / *stride as f64, compute)?);
            order.extend(own);
        }
        let all = Tensor::cat(&parts, 0)?;
        if order.is_sorted() {
            return Ok(all);
        }
        let mut places = vec![0_u32; order.len()];
        order.iter().enumerate().for_each(|(place, i)| places[*i] = place as u32);
        let count = places.len();
        Ok(all.index_select(&Tensor::from_vec(places, count, all.device())?, 0)?)
    }
}
