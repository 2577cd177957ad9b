use candle_core::Tensor;
use longmae_ops::{Params, roi_align_mask};
use rayon::prelude::*;

use super::boxes::Corners;
use super::layers::{Conv, Side, Start, UpConv};
use super::losses::binary_cross_entropy;
use super::target::Bitmap;
use crate::Result;

/// The sizes of a mask head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaskHeadConfig {
    /// Channels of the maps, and of the convolutions.
    pub channels: usize,
    /// 3 x 3 convolutions, each with a norm and ReLU.
    pub convolutions: usize,
    /// Side of what is pooled; masks are twice as large.
    pub side: usize,
    /// How many classes there are.
    pub classes: usize,
    /// Whether all classes share one mask.
    pub class_agnostic: bool,
}

/// Says which pixels under a box belong to the object, for each class: convolutions, one that doubles the size, and a last
/// one.
///
/// Its parameters have detectron2's names: `mask_fcn1` and so on, `deconv`, `predictor`.
#[derive(Debug, Clone)]
pub struct MaskHead {
    config: MaskHeadConfig,
    convolutions: Vec<Conv>,
    double: UpConv,
    predictor: Conv,
}

/// An object whose mask is compared.
pub struct MaskTruth<'a> {
    /// The box that was pooled.
    pub corners: Corners,
    /// Its class.
    pub class: u32,
    /// Its mask in the whole image.
    pub mask: &'a Bitmap,
}

impl MaskHead {
    /// Defines the parameters.
    ///
    /// # Errors
    /// When a parameter's name is taken.
    pub fn new(config: MaskHeadConfig, params: &Params) -> Result<Self> {
        let MaskHeadConfig { channels, convolutions, classes, class_agnostic, .. } = config;
        let sizes = (channels, channels);
        let conv = |i: usize| {
            let params = params.pp(format!("mask_fcn{}", i + 1));
            Conv::with_norm(sizes, Side::Three, Start::Msra, &params)
        };
        let sizes_out = (channels, if class_agnostic { 1 } else { classes });
        let start = Start::Normal(0.001);
        Ok(Self {
            config,
            convolutions: (0..convolutions).map(conv).collect::<Result<_>>()?,
            double: UpConv::new(sizes, Start::Msra, &params.pp("deconv"))?,
            predictor: Conv::with_bias(sizes_out, Side::One, start, &params.pp("predictor"))?,
        })
    }

    /// Logits `[boxes, 2 * side, 2 * side, classes]` (or of one for all) of pooled features `[boxes, side, side, channels]`.
    ///
    /// # Errors
    /// When the shapes do not fit.
    pub fn forward(&self, pooled: &Tensor) -> Result<Tensor> {
        let mut x = pooled.clone();
        for convolution in &self.convolutions {
            x = convolution.forward(&x)?.relu()?;
        }
        self.predictor.forward(&self.double.forward(&x)?.relu()?)
    }

    /// The logits of each box's own class, `[boxes, 2 * side, 2 * side]`.
    fn of_class(&self, logits: &Tensor, classes: &[u32]) -> Result<Tensor> {
        let (boxes, side, _, channels) = logits.dims4()?;
        if self.config.class_agnostic {
            return Ok(logits.squeeze(3)?);
        }
        debug_assert_eq!((channels, boxes), (self.config.classes, classes.len()));
        let places = Tensor::from_slice(classes, (boxes, 1, 1, 1), logits.device())?;
        let places = places.broadcast_as((boxes, side, side, 1))?.contiguous()?;
        Ok(logits.contiguous()?.gather(&places, 3)?.squeeze(3)?)
    }

    /// `loss_mask`: the mean binary cross-entropy with the true masks under the boxes, which count as 1 where at least half of
    /// what is sampled does. There must be an object.
    ///
    /// # Errors
    /// When there are not as many objects as boxes.
    pub fn loss(&self, logits: &Tensor, truths: &[MaskTruth<'_>]) -> Result<Tensor> {
        let side = 2 * self.config.side;
        let masks: Vec<Vec<f32>> = truths
            .par_iter()
            .map(|MaskTruth { corners, mask, .. }| {
                let shares = roi_align_mask(&mask.pixels, mask.size, *corners, side);
                shares.into_iter().map(|share| f32::from(share >= 0.5)).collect()
            })
            .collect();
        let classes: Vec<u32> = truths.iter().map(|truth| truth.class).collect();
        let logits = self.of_class(logits, &classes)?;
        let masks = Tensor::from_vec(masks.concat(), logits.shape(), logits.device())?;
        let count = logits.elem_count() as f64;
        Ok((binary_cross_entropy(&logits, &masks)? * (1.0 / count))?)
    }

    /// How likely each pixel of the `2 * side` x `2 * side` under each box belongs to the object of this class.
    ///
    /// # Errors
    /// When there are not as many classes as boxes.
    pub fn masks(&self, logits: &Tensor, classes: &[u32]) -> Result<Vec<Vec<f32>>> {
        let logits = self.of_class(&logits.detach(), classes)?.flatten_from(1)?;
        let likely = |x: f32| 1.0 / (1.0 + (-x).exp());
        let rows: Vec<Vec<f32>> = logits.to_vec2()?;
        Ok(rows.into_iter().map(|row| row.into_iter().map(likely).collect()).collect())
    }
}
