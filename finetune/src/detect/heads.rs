//! What becomes of proposals: boxes in one stage (arXiv 1703.06870) or in several that follow each other (arXiv 1712.00726),
//! and masks.

use candle_core::Tensor;
use longmae_ops::{Compute, Params, Roi, reference::softmax};
use rand::RngCore;

use super::box_head::{BoxHead, BoxHeadConfig, BoxOutput, Truth};
use super::boxes::{Corners, clip, has_inside};
use super::coding::BoxCoding;
use super::detection::{Detection, Selection, select};
use super::losses::{BoxLoss, Losses, nothing};
use super::mask_head::{MaskHead, MaskHeadConfig, MaskTruth};
use super::matching::{Label, Matcher, sample};
use super::pooler::Pooler;
use super::target::Target;
use crate::Result;

/// The heads on proposals.
#[derive(Debug, Clone, PartialEq)]
pub struct HeadsConfig {
    /// The box head of each stage.
    pub box_head: BoxHeadConfig,
    /// The mask head, if masks are wanted.
    pub mask_head: Option<MaskHeadConfig>,
    /// Coding and overlap from which on a box is an object, for each stage: one for Mask R-CNN, three for its cascade.
    pub stages: Vec<(BoxCoding, f32)>,
    /// Pixels of the image to a pixel of each map that is pooled.
    pub strides: Vec<usize>,
    /// Proposals of an image that are learned from.
    pub samples: usize,
    /// At most this share of them are objects.
    pub fraction: f64,
    /// How boxes are compared.
    pub box_loss: BoxLoss,
    /// What is given as detections.
    pub selection: Selection,
}

/// A stage's box head.
#[derive(Debug, Clone)]
struct Stage {
    head: BoxHead,
    coding: BoxCoding,
    matcher: Matcher,
}

/// The heads on proposals, with detectron2's names: `box_head`, `box_predictor` (in a cascade with the stage's number) and
/// `mask_head`.
#[derive(Debug, Clone)]
pub struct Heads {
    config: HeadsConfig,
    stages: Vec<Stage>,
    mask_head: Option<MaskHead>,
    compute: Compute,
}

/// A box of an image in a batch.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    roi: Roi,
    /// The true object that it is, if any.
    object: Option<usize>,
    truth: Truth,
}

impl Heads {
    /// Defines the parameters.
    ///
    /// # Errors
    /// When a parameter's name is taken.
    pub fn new(config: HeadsConfig, params: &Params) -> Result<Self> {
        let several = config.stages.len() > 1;
        let below = |name: &str, stage: usize| match several {
            true => params.pp(name).pp(stage),
            false => params.pp(name),
        };
        let stage = |(i, (coding, overlap)): (usize, &(BoxCoding, f32))| -> Result<Stage> {
            let (head, predictor) = (below("box_head", i), below("box_predictor", i));
            Ok(Stage {
                head: BoxHead::new(config.box_head, &head, &predictor)?,
                coding: *coding,
                matcher: Matcher::head(*overlap),
            })
        };
        let stages = config.stages.iter().enumerate().map(stage).collect::<Result<_>>()?;
        let mask_head = |config| MaskHead::new(config, &params.pp("mask_head"));
        let mask_head = config.mask_head.map(mask_head).transpose()?;
        Ok(Self { config, stages, mask_head, compute: params.compute() })
    }

    /// What proposals of a batch cost: `loss_cls` and `loss_box_reg` (in a cascade of each stage), and `loss_mask`, if there
    /// is a head for masks. Where there is nothing to compare, a loss is a zero with gradients of zero.
    ///
    /// `maps` are the pyramid's, of which as many are pooled as there are strides.
    ///
    /// # Errors
    /// When targets, sizes and proposals are not of as many images.
    pub fn losses(
        &self,
        maps: &[Tensor],
        proposals: &[Vec<Corners>],
        targets: &[Target],
        sizes: &[(usize, usize)],
        rng: &mut dyn RngCore,
    ) -> Result<Losses> {
        let sampled = self.sample(proposals, targets, rng);
        let mut losses = Losses::default();
        let mut candidates = sampled.clone();
        for (i, stage) in self.stages.iter().enumerate() {
            let rois = rois_or_any(candidates.iter().map(|candidate| candidate.roi));
            let output = self.run(maps, &rois, stage, true)?;
            let [classes, boxes] = self.stage_losses(stage, &output, &candidates)?;
            let name = |name: &str| match self.stages.len() {
                1 => name.to_owned(),
                _ => format!("{name}_stage{i}"),
            };
            losses.add(name("loss_cls"), classes);
            losses.add(name("loss_box_reg"), boxes);
            if let Some(next) = self.stages.get(i + 1).filter(|_| !candidates.is_empty()) {
                let found = self.next(stage, &output, &rois, sizes)?;
                let kept = found.into_iter().filter(|roi| has_inside(roi.corners)).collect();
                candidates = self.match_again(next, kept, targets);
            }
        }
        if let Some(head) = &self.mask_head {
            losses.add("loss_mask", self.mask_loss(head, maps, &sampled, targets)?);
        }
        Ok(losses)
    }

    /// What a stage's judgement of its candidates costs.
    fn stage_losses(
        &self,
        stage: &Stage,
        output: &BoxOutput,
        candidates: &[Candidate],
    ) -> Result<[Tensor; 2]> {
        if candidates.is_empty() {
            return Ok([nothing(&output.logits)?, nothing(&output.differences)?]);
        }
        let corners: Vec<Corners> = candidates.iter().map(|x| x.roi.corners).collect();
        let truths: Vec<Truth> = candidates.iter().map(|candidate| candidate.truth).collect();
        stage.head.losses(output, stage.coding, self.config.box_loss, &corners, &truths)
    }

    /// What the masks of those candidates cost that are objects.
    fn mask_loss(
        &self,
        head: &MaskHead,
        maps: &[Tensor],
        sampled: &[Candidate],
        targets: &[Target],
    ) -> Result<Tensor> {
        let objects = sampled.iter().filter_map(|candidate| {
            Some((candidate.roi, &targets[candidate.roi.image], candidate.object?))
        });
        let (rois, truths): (Vec<Roi>, Vec<MaskTruth<'_>>) = objects
            .map(|(roi, target, i)| {
                let (class, mask) = (target.classes[i], &target.masks[i]);
                (roi, MaskTruth { corners: roi.corners, class, mask })
            })
            .unzip();
        let pooled =
            self.mask_pooler()?.forward(maps, &rois_or_any(rois.into_iter()), self.compute)?;
        let logits = head.forward(&pooled)?;
        if truths.is_empty() { nothing(&logits) } else { head.loss(&logits, &truths) }
    }

    /// The best boxes of each image, with masks if there is a head for them.
    ///
    /// # Errors
    /// When sizes and proposals are not of as many images.
    pub fn detect(
        &self,
        maps: &[Tensor],
        proposals: &[Vec<Corners>],
        sizes: &[(usize, usize)],
    ) -> Result<Vec<Vec<Detection>>> {
        let each = proposals.iter().enumerate();
        let mut rois: Vec<Roi> = each
            .flat_map(|(image, own)| {
                own.iter().map(move |corners| Roi { image, corners: *corners })
            })
            .collect();
        let mut found: Vec<Vec<Detection>> = vec![Vec::new(); sizes.len()];
        let Some(last) = self.stages.len().checked_sub(1).filter(|_| !rois.is_empty()) else {
            return Ok(found);
        };
        let mut likely: Option<Tensor> = None;
        for (i, stage) in self.stages.iter().enumerate() {
            let output = self.run(maps, &rois, stage, false)?;
            let own = softmax(&output.logits.detach())?;
            let sum = match likely {
                Some(sum) => (sum + own)?,
                None => own,
            };
            if i == last {
                found = self.select(stage, &output, &sum, &rois, sizes)?;
            } else {
                rois = self.next(stage, &output, &rois, sizes)?;
            }
            likely = Some(sum);
        }
        self.add_masks(maps, &mut found)?;
        Ok(found)
    }

    /// The best boxes of each image by the last stage's boxes and all stages' likelihoods, whose `sum` is given.
    fn select(
        &self,
        stage: &Stage,
        output: &BoxOutput,
        sum: &Tensor,
        rois: &[Roi],
        sizes: &[(usize, usize)],
    ) -> Result<Vec<Vec<Detection>>> {
        let corners: Vec<Corners> = rois.iter().map(|roi| roi.corners).collect();
        let boxes = stage.head.decode(output, stage.coding, &corners)?;
        let scores: Vec<Vec<f32>> = (sum / self.stages.len() as f64)?.to_vec2()?;
        let of_image = |(image, size): (usize, &(usize, usize))| {
            let own: Vec<usize> = (0..rois.len()).filter(|i| rois[*i].image == image).collect();
            let boxes: Vec<&[Corners]> = own.iter().map(|i| boxes[*i].as_slice()).collect();
            let scores: Vec<&[f32]> = own.iter().map(|i| scores[*i].as_slice()).collect();
            select(&boxes, &scores, *size, &self.config.selection)
        };
        Ok(sizes.iter().enumerate().map(of_image).collect())
    }

    fn add_masks(&self, maps: &[Tensor], found: &mut [Vec<Detection>]) -> Result<()> {
        let Some(head) = &self.mask_head else { return Ok(()) };
        let each = found.iter().enumerate();
        let rois: Vec<Roi> = each
            .flat_map(|(image, found)| {
                found.iter().map(move |found| Roi { image, corners: found.corners })
            })
            .collect();
        if rois.is_empty() {
            return Ok(());
        }
        let classes: Vec<u32> = found.iter().flatten().map(|found| found.class).collect();
        let logits = head.forward(&self.mask_pooler()?.forward(maps, &rois, self.compute)?)?;
        let masks = head.masks(&logits, &classes)?;
        for (found, mask) in found.iter_mut().flatten().zip(masks) {
            found.mask = Some(mask);
        }
        Ok(())
    }

    fn mask_pooler(&self) -> Result<Pooler> {
        let side = self.config.mask_head.map_or(1, |head| head.side);
        Ok(Pooler { side, strides: self.config.strides.clone() })
    }

    /// Judges boxes by a stage's head. In the training of a cascade each stage's gradient counts a share at the maps.
    fn run(
        &self,
        maps: &[Tensor],
        rois: &[Roi],
        stage: &Stage,
        training: bool,
    ) -> Result<BoxOutput> {
        let strides = self.config.strides.clone();
        let pooler = Pooler { side: self.config.box_head.side, strides };
        let mut pooled = pooler.forward(maps, rois, self.compute)?;
        if training && self.stages.len() > 1 {
            let kept = pooled.detach();
            pooled = (&kept + ((pooled - &kept)? * (1.0 / self.stages.len() as f64))?)?;
        }
        stage.head.forward(&pooled)
    }

    /// What a stage makes of its boxes, for the next one; without a gradient, inside the image.
    fn next(
        &self,
        stage: &Stage,
        output: &BoxOutput,
        rois: &[Roi],
        sizes: &[(usize, usize)],
    ) -> Result<Vec<Roi>> {
        let corners: Vec<Corners> = rois.iter().map(|roi| roi.corners).collect();
        let boxes = stage.head.decode(output, stage.coding, &corners)?;
        let moved = rois.iter().zip(boxes.iter().flatten());
        Ok(moved
            .map(|(roi, corners)| Roi { corners: clip(*corners, sizes[roi.image]), ..*roi })
            .collect())
    }

    /// Proposals and the true boxes themselves, of each image a sample.
    fn sample(
        &self,
        proposals: &[Vec<Corners>],
        targets: &[Target],
        rng: &mut dyn RngCore,
    ) -> Vec<Candidate> {
        let mut all = Vec::new();
        let Some(stage) = self.stages.first() else { return all };
        for (image, (proposals, target)) in proposals.iter().zip(targets).enumerate() {
            let boxes: Vec<Corners> = proposals.iter().chain(&target.boxes).copied().collect();
            let matches = stage.matcher.matches(&target.boxes, &boxes);
            let labels: Vec<Label> = matches.iter().map(|found| found.label).collect();
            let (objects, background) =
                sample(&labels, self.config.samples, self.config.fraction, rng);
            let candidate = |i: usize, object: Option<usize>| {
                self.candidate(Roi { image, corners: boxes[i] }, object, target)
            };
            all.extend(objects.into_iter().map(|i| candidate(i, Some(matches[i].truth))));
            all.extend(background.into_iter().map(|i| candidate(i, None)));
        }
        all
    }

    fn candidate(&self, roi: Roi, object: Option<usize>, target: &Target) -> Candidate {
        let truth = match object {
            Some(i) => Truth { class: target.classes[i], corners: target.boxes[i] },
            None => Truth { class: self.config.box_head.classes as u32, corners: roi.corners },
        };
        Candidate { roi, object, truth }
    }

    /// Boxes of a stage before, compared by a stage's own threshold; none is left out.
    fn match_again(&self, stage: &Stage, rois: Vec<Roi>, targets: &[Target]) -> Vec<Candidate> {
        let mut all = Vec::with_capacity(rois.len());
        for (image, target) in targets.iter().enumerate() {
            let own: Vec<Roi> = rois.iter().filter(|roi| roi.image == image).copied().collect();
            let boxes: Vec<Corners> = own.iter().map(|roi| roi.corners).collect();
            let matches = stage.matcher.matches(&target.boxes, &boxes);
            all.extend(own.into_iter().zip(matches).map(|(roi, found)| {
                let object = (found.label == Label::Object).then_some(found.truth);
                self.candidate(roi, object, target)
            }));
        }
        all
    }
}

/// Regions to pool; if there are none, any one, whose judgement counts nothing but gives every parameter its gradient of zero.
fn rois_or_any(rois: impl Iterator<Item = Roi>) -> Vec<Roi> {
    let rois: Vec<Roi> = rois.collect();
    if rois.is_empty() { vec![Roi { image: 0, corners: [0.0, 0.0, 1.0, 1.0] }] } else { rois }
}
