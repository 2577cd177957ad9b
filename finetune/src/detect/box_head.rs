use candle_core::Tensor;
use longmae_ops::{Init, Params};

use super::boxes::Corners;
use super::coding::BoxCoding;
use super::layers::{Conv, Fc, Side, Start};
use super::losses::{BoxLoss, cross_entropy, nothing};
use crate::Result;

/// The sizes of a box head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BoxHeadConfig {
    /// Channels of the maps, and of the convolutions.
    pub channels: usize,
    /// 3 x 3 convolutions, each with a norm and ReLU.
    pub convolutions: usize,
    /// Width of the linear layer after them.
    pub width: usize,
    /// Side of what is pooled.
    pub side: usize,
    /// How many classes there are, background not counted.
    pub classes: usize,
    /// Whether all classes share one box.
    pub class_agnostic: bool,
}

/// Says of pooled features what they are and where exactly: convolutions, a linear layer, and two more for classes and boxes.
///
/// Its parameters have detectron2's names: `conv1`, `fc1` and so on in `box_head`, `cls_score` and `bbox_pred` in
/// `box_predictor`.
#[derive(Debug, Clone)]
pub struct BoxHead {
    config: BoxHeadConfig,
    convolutions: Vec<Conv>,
    fc: Fc,
    classes: Fc,
    boxes: Fc,
}

/// What a box head says of boxes.
pub struct BoxOutput {
    /// `[boxes, classes + 1]`, background last.
    pub logits: Tensor,
    /// `[boxes, 4]`, or `[boxes, 4 * classes]` where each class has its own.
    pub differences: Tensor,
}

/// What a box is compared with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Truth {
    /// The class, or the number of classes for background.
    pub class: u32,
    /// The true box; of no meaning for background.
    pub corners: Corners,
}

impl BoxHead {
    /// Defines the parameters: of the head below `head`, of the last layers below `predictor`.
    ///
    /// # Errors
    /// When a parameter's name is taken.
    pub fn new(config: BoxHeadConfig, head: &Params, predictor: &Params) -> Result<Self> {
        let BoxHeadConfig { channels, convolutions, width, side, classes, class_agnostic } = config;
        let conv = |i: usize| {
            let params = head.pp(format!("conv{}", i + 1));
            Conv::with_norm((channels, channels), Side::Three, Start::Msra, &params)
        };
        let inputs = channels * side * side;
        let uniform = Init::Uniform { bound: (3.0 / inputs as f64).sqrt() };
        let normal = |std| Init::Normal { std };
        let boxes = if class_agnostic { 4 } else { 4 * classes };
        Ok(Self {
            config,
            convolutions: (0..convolutions).map(conv).collect::<Result<_>>()?,
            fc: Fc::new((inputs, width), uniform, &head.pp("fc1"))?,
            classes: Fc::new((width, classes + 1), normal(0.01), &predictor.pp("cls_score"))?,
            boxes: Fc::new((width, boxes), normal(0.001), &predictor.pp("bbox_pred"))?,
        })
    }

    /// Judges pooled features `[boxes, side, side, channels]`.
    ///
    /// # Errors
    /// When the shapes do not fit.
    pub fn forward(&self, pooled: &Tensor) -> Result<BoxOutput> {
        let mut x = pooled.clone();
        for convolution in &self.convolutions {
            x = convolution.forward(&x)?.relu()?;
        }
        // The linear layer's weight has channels first.
        let x = x.permute((0, 3, 1, 2))?.contiguous()?.flatten_from(1)?;
        let x = self.fc.forward(&x)?.relu()?;
        Ok(BoxOutput { logits: self.classes.forward(&x)?, differences: self.boxes.forward(&x)? })
    }

    /// How many boxes each box becomes: one, or one for each class.
    fn boxes_each(&self) -> usize {
        if self.config.class_agnostic { 1 } else { self.config.classes }
    }

    /// `loss_cls`, the mean over boxes, and `loss_box_reg`, the sum over those of objects divided by the number of all.
    ///
    /// # Errors
    /// When there are not as many boxes and truths as were judged.
    pub fn losses(
        &self,
        output: &BoxOutput,
        coding: BoxCoding,
        loss: BoxLoss,
        boxes: &[Corners],
        truths: &[Truth],
    ) -> Result<[Tensor; 2]> {
        let classes: Vec<u32> = truths.iter().map(|truth| truth.class).collect();
        let judgement = cross_entropy(&output.logits, &classes)?;
        let is_object = |i: &usize| (truths[*i].class as usize) < self.config.classes;
        let objects: Vec<usize> = (0..truths.len()).filter(is_object).collect();
        if objects.is_empty() {
            return Ok([judgement, nothing(&output.differences)?]);
        }
        let each = self.boxes_each();
        let place = |i: &usize| (i * each + truths[*i].class as usize % each) as u32;
        let places: Vec<u32> = objects.iter().map(place).collect();
        let places = Tensor::from_vec(places, objects.len(), output.logits.device())?;
        let differences = output.differences.reshape((boxes.len() * each, 4))?;
        let differences = differences.index_select(&places, 0)?;
        let from: Vec<Corners> = objects.iter().map(|i| boxes[*i]).collect();
        let to: Vec<Corners> = objects.iter().map(|i| truths[*i].corners).collect();
        let regression = loss.sum(coding, &from, &differences, &to)?;
        Ok([judgement, (regression * (1.0 / truths.len() as f64))?])
    }

    /// What boxes become, without a gradient: for each one or one a class.
    ///
    /// # Errors
    /// When there are not as many boxes as were judged.
    pub fn decode(
        &self,
        output: &BoxOutput,
        coding: BoxCoding,
        boxes: &[Corners],
    ) -> Result<Vec<Vec<Corners>>> {
        let each = self.boxes_each();
        let differences = output.differences.detach().reshape((boxes.len() * each, 4))?;
        let differences: Vec<Vec<f32>> = differences.to_vec2()?;
        let decode = |corners: Corners, row: &Vec<f32>| {
            coding.decode(corners, [row[0], row[1], row[2], row[3]])
        };
        let rows = boxes.iter().zip(differences.chunks_exact(each));
        Ok(rows
            .map(|(corners, rows)| rows.iter().map(|row| decode(*corners, row)).collect())
            .collect())
    }
}
