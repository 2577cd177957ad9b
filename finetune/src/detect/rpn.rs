//! Region proposals (arXiv 1506.01497).

use candle_core::Tensor;
use longmae_ops::Params;
use rand::RngCore;

use super::anchors::Anchors;
use super::boxes::{Corners, clip, has_inside};
use super::coding::BoxCoding;
use super::layers::{Conv, Side, Start};
use super::losses::{BoxLoss, binary_cross_entropy, nothing};
use super::matching::{Label, Matcher, sample};
use super::nms::nms;
use super::target::Target;
use crate::Result;

/// How regions are proposed.
#[derive(Debug, Clone, PartialEq)]
pub struct RpnConfig {
    /// The boxes that are judged.
    pub anchors: Anchors,
    /// 3 x 3 convolutions before the judgement.
    pub convolutions: usize,
    /// Which anchors are objects.
    pub matcher: Matcher,
    /// Anchors of an image that are learned from.
    pub samples: usize,
    /// At most this share of them are objects.
    pub fraction: f64,
    /// How boxes are compared.
    pub box_loss: BoxLoss,
    /// Best anchors of each map that go into suppression.
    pub before_nms: Budget,
    /// Best proposals of an image that come out of it.
    pub after_nms: Budget,
    /// Overlap above which the worse of two is dropped.
    pub nms: f32,
}

/// A number of boxes in training and in detection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// In training.
    pub training: usize,
    /// In detection.
    pub detection: usize,
}

impl RpnConfig {
    /// ViTDet's, on a backbone of this stride.
    pub fn vitdet(stride: usize) -> Self {
        Self {
            anchors: Anchors::pyramid(stride),
            convolutions: 2,
            matcher: Matcher::PROPOSALS,
            samples: 256,
            fraction: 0.5,
            box_loss: BoxLoss::SmoothL1 { beta: 0.0 },
            before_nms: Budget { training: 2000, detection: 1000 },
            after_nms: Budget { training: 1000, detection: 1000 },
            nms: 0.7,
        }
    }
}

/// The head that judges anchors, with detectron2's names: `rpn_head.conv`, `.objectness_logits`, `.anchor_deltas`.
#[derive(Debug, Clone)]
pub struct Rpn {
    config: RpnConfig,
    convolutions: Vec<Conv>,
    logits: Conv,
    differences: Conv,
}

/// What the head says of all anchors, map after map.
pub struct Judged {
    /// How likely each is an object, `[batch, anchors]`.
    pub logits: Tensor,
    /// What it becomes, `[batch, anchors, 4]`.
    pub differences: Tensor,
    /// The anchors of each map.
    pub anchors: Vec<Vec<Corners>>,
}

/// A proposed region.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Proposal {
    /// Where.
    pub corners: Corners,
    /// The logit of being an object.
    pub logit: f32,
}

impl Rpn {
    /// Defines the parameters, for maps of so many channels.
    ///
    /// # Errors
    /// When a parameter's name is taken.
    pub fn new(config: RpnConfig, channels: usize, params: &Params) -> Result<Self> {
        let head = params.pp("rpn_head");
        let start = Start::Normal(0.01);
        let conv = |i: usize| {
            let own = match config.convolutions {
                1 => head.pp("conv"),
                _ => head.pp(format!("conv.conv{i}")),
            };
            Conv::with_bias((channels, channels), Side::Three, start, &own)
        };
        let convolutions = (0..config.convolutions).map(conv).collect::<Result<_>>()?;
        let ratios = config.anchors.ratios.len();
        let out = |name: &str, outputs| {
            Conv::with_bias((channels, outputs), Side::One, start, &head.pp(name))
        };
        let logits = out("objectness_logits", ratios)?;
        let differences = out("anchor_deltas", 4 * ratios)?;
        Ok(Self { convolutions, logits, differences, config })
    }

    /// Judges all anchors of maps `[batch, .., .., channels]`.
    ///
    /// # Errors
    /// When the shapes do not fit.
    pub fn forward(&self, maps: &[Tensor]) -> Result<Judged> {
        let (mut logits, mut differences, mut anchors) = (Vec::new(), Vec::new(), Vec::new());
        for (level, map) in maps.iter().enumerate() {
            let (batch, height, width, _) = map.dims4()?;
            let mut x = map.clone();
            for convolution in &self.convolutions {
                x = convolution.forward(&x)?.relu()?;
            }
            let ratios = self.config.anchors.ratios.len();
            let count = height * width * ratios;
            logits.push(self.logits.forward(&x)?.reshape((batch, count))?);
            differences.push(self.differences.forward(&x)?.reshape((batch, count, 4))?);
            anchors.push(self.config.anchors.of_map(level, (height, width)));
        }
        let (logits, differences) = (Tensor::cat(&logits, 1)?, Tensor::cat(&differences, 1)?);
        Ok(Judged { logits, differences, anchors })
    }

    /// What the judgement of a sample of anchors costs: `loss_rpn_cls` and `loss_rpn_loc`, the sums over the sample divided by
    /// its full size.
    ///
    /// # Errors
    /// When there are not as many targets as images.
    pub fn losses(
        &self,
        judged: &Judged,
        targets: &[Target],
        rng: &mut dyn RngCore,
    ) -> Result<[Tensor; 2]> {
        let anchors = judged.anchors.concat();
        let (mut places, mut labels, mut objects) = (Vec::new(), Vec::new(), Vec::new());
        let (mut from, mut to) = (Vec::new(), Vec::new());
        for (image, target) in targets.iter().enumerate() {
            let matches = self.config.matcher.matches(&target.boxes, &anchors);
            let all: Vec<Label> = matches.iter().map(|found| found.label).collect();
            let (own, background) = sample(&all, self.config.samples, self.config.fraction, rng);
            let place = |i: &usize| (image * anchors.len() + i) as u32;
            labels.extend(own.iter().map(|_| 1.0_f32));
            labels.extend(background.iter().map(|_| 0.0_f32));
            places.extend(own.iter().chain(&background).map(place));
            objects.extend(own.iter().map(place));
            from.extend(own.iter().map(|i| anchors[*i]));
            to.extend(own.iter().map(|i| target.boxes[matches[*i].truth]));
        }
        let share = 1.0 / (self.config.samples * targets.len()).max(1) as f64;
        let device = judged.logits.device();
        let picked = |of: &Tensor, places: Vec<u32>| {
            let count = places.len();
            of.index_select(&Tensor::from_vec(places, count, device)?, 0)
        };
        let judgement = match places.is_empty() {
            true => nothing(&judged.logits)?,
            false => {
                let logits = picked(&judged.logits.flatten_all()?, places)?;
                let count = labels.len();
                binary_cross_entropy(&logits, &Tensor::from_vec(labels, count, device)?)?
            }
        };
        let regression = match objects.is_empty() {
            true => nothing(&judged.differences)?,
            false => {
                let differences = picked(&judged.differences.flatten_to(1)?, objects)?;
                let loss = self.config.box_loss;
                loss.sum(BoxCoding::PROPOSALS, &from, &differences, &to)?
            }
        };
        Ok([(judgement * share)?, (regression * share)?])
    }

    /// The best regions of each image, of `(height, width)` pixels, by falling logit. They carry no gradient.
    ///
    /// # Errors
    /// When there are not as many sizes as images.
    pub fn proposals(
        &self,
        judged: &Judged,
        sizes: &[(usize, usize)],
        training: bool,
    ) -> Result<Vec<Vec<Proposal>>> {
        let budget = |budget: Budget| if training { budget.training } else { budget.detection };
        let logits: Vec<Vec<f32>> = judged.logits.detach().to_vec2()?;
        let differences = judged.differences.detach();
        let mut all = Vec::with_capacity(sizes.len());
        for (image, (logits, size)) in logits.iter().zip(sizes).enumerate() {
            let differences: Vec<f32> = differences.get(image)?.flatten_all()?.to_vec1()?;
            let (mut boxes, mut scores, mut levels) = (Vec::new(), Vec::new(), Vec::new());
            let mut start = 0;
            for (level, anchors) in judged.anchors.iter().enumerate() {
                let logits = &logits[start..start + anchors.len()];
                for i in best(logits, budget(self.config.before_nms)) {
                    let own = differences[4 * (start + i)..][..4].try_into().unwrap_or([0.0; 4]);
                    let found = BoxCoding::PROPOSALS.decode(anchors[i], own);
                    let finite = found.iter().chain([&logits[i]]).all(|x| x.is_finite());
                    let found = clip(found, *size);
                    if finite && has_inside(found) {
                        boxes.push(found);
                        scores.push(logits[i]);
                        levels.push(level as u32);
                    }
                }
                start += anchors.len();
            }
            let mut kept = nms(&boxes, &scores, &levels, self.config.nms);
            kept.truncate(budget(self.config.after_nms));
            let proposal = |i: usize| Proposal { corners: boxes[i], logit: scores[i] };
            all.push(kept.into_iter().map(proposal).collect());
        }
        Ok(all)
    }

    /// How regions are proposed.
    pub fn config(&self) -> &RpnConfig {
        &self.config
    }
}

/// The places of the `count` largest numbers, the largest first; equal ones in their order.
fn best(values: &[f32], count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    let falling = |a: &usize, b: &usize| values[*b].total_cmp(&values[*a]).then(a.cmp(b));
    if count < order.len() {
        order.select_nth_unstable_by(count, falling);
        order.truncate(count);
    }
    order.sort_unstable_by(falling);
    order
}
