use candle_core::Tensor;
use longmae_ops::{Param, Params};
use longmae_patching::PatchGrid;
use longmae_vit::{Backbone, DropPath, WindowedVit, WindowedVitConfig};
use rand::RngCore;

use super::box_head::BoxHeadConfig;
use super::boxes::Corners;
use super::coding::BoxCoding;
use super::detection::{Detection, Selection};
use super::heads::{Heads, HeadsConfig};
use super::losses::{BoxLoss, Losses};
use super::mask_head::MaskHeadConfig;
use super::pyramid::FeaturePyramid;
use super::rpn::{Proposal, Rpn, RpnConfig};
use super::target::Target;
use crate::{Error, Result, TunedParam, layer_decay};

/// What a detector is made of.
#[derive(Debug, Clone, PartialEq)]
pub struct DetectorConfig {
    /// The backbone.
    pub vit: WindowedVitConfig,
    /// Channels of the pyramid's maps.
    pub channels: usize,
    /// Region proposals.
    pub rpn: RpnConfig,
    /// Boxes and masks.
    pub heads: HeadsConfig,
}

impl DetectorConfig {
    /// ViTDet's Mask R-CNN (arXiv 2203.16527; detectron2's `mask_rcnn_vitdet`) of so many classes; without masks, its Faster
    /// R-CNN.
    pub fn mask_rcnn(vit: WindowedVitConfig, classes: usize, masks: bool) -> Self {
        const CHANNELS: usize = 256;
        let stride = vit.grid.patch();
        let rpn = RpnConfig::vitdet(stride);
        let strides = rpn.anchors.strides[..4].to_vec();
        let box_head = BoxHeadConfig {
            channels: CHANNELS,
            convolutions: 4,
            width: 1024,
            side: 7,
            classes,
            class_agnostic: false,
        };
        let mask_head = MaskHeadConfig {
            channels: CHANNELS,
            convolutions: 4,
            side: 14,
            classes,
            class_agnostic: false,
        };
        let heads = HeadsConfig {
            box_head,
            mask_head: masks.then_some(mask_head),
            stages: vec![(BoxCoding::HEAD, 0.5)],
            strides,
            samples: 512,
            fraction: 0.25,
            box_loss: BoxLoss::SmoothL1 { beta: 0.0 },
            selection: Selection::default(),
        };
        Self { vit, channels: CHANNELS, rpn, heads }
    }

    /// The same with boxes refined in three stages that all classes share: Cascade Mask R-CNN (arXiv 1712.00726; detectron2's
    /// `cascade_mask_rcnn_vitdet`).
    pub fn cascade(mut self) -> Self {
        let overlaps = [0.5, 0.6, 0.7];
        self.heads.stages = BoxCoding::CASCADE.into_iter().zip(overlaps).collect();
        self.heads.box_head.class_agnostic = true;
        self
    }

    /// Other channels than 256, in all maps and heads.
    pub fn with_channels(mut self, channels: usize) -> Self {
        self.channels = channels;
        self.heads.box_head.channels = channels;
        if let Some(head) = &mut self.heads.mask_head {
            head.channels = channels;
        }
        self
    }

    fn check(&self) -> Result<()> {
        let stages = &self.heads.stages;
        let wrong = |name, found: String, expected: &str| {
            Err(Error::Setting { name, found, expected: expected.to_owned() })
        };
        if self.heads.box_head.classes == 0 {
            return wrong("classes", "0".to_owned(), "at least 1");
        }
        if stages.is_empty() || (stages.len() > 1 && !self.heads.box_head.class_agnostic) {
            let expected = "one, or several with boxes that all classes share";
            return wrong("number of box stages", stages.len().to_string(), expected);
        }
        let patch = self.vit.grid.patch();
        if patch < 4 || !patch.is_power_of_two() {
            return wrong("patch size", patch.to_string(), "a power of two from 4 on");
        }
        Ok(())
    }
}

/// Mask R-CNN on a plain backbone (ViTDet, arXiv 2203.16527), in one stage or as a cascade.
///
/// Its parameters have detectron2's names: `backbone.net` is the Vision Transformer with MAE's, `backbone.simfp_2` to
/// `simfp_5` the pyramid, `proposal_generator.rpn_head` and `roi_heads` the rest.
#[derive(Debug, Clone)]
pub struct Detector {
    config: DetectorConfig,
    net: WindowedVit,
    pyramid: FeaturePyramid,
    rpn: Rpn,
    heads: Heads,
}

/// What stands before the backbone's own names.
const NET: &str = "backbone.net.";

impl Detector {
    /// Defines the parameters.
    ///
    /// # Errors
    /// When the sizes make no detector or a parameter's name is taken.
    pub fn new(config: DetectorConfig, params: &Params) -> Result<Self> {
        config.check()?;
        let backbone = params.pp("backbone");
        Ok(Self {
            net: WindowedVit::new(config.vit, &backbone.pp("net"))?,
            pyramid: FeaturePyramid::new(config.vit.tower.dim, config.channels, &backbone)?,
            rpn: Rpn::new(config.rpn.clone(), config.channels, &params.pp("proposal_generator"))?,
            heads: Heads::new(config.heads.clone(), &params.pp("roi_heads"))?,
            config,
        })
    }

    /// The configuration it was built from.
    pub fn config(&self) -> &DetectorConfig {
        &self.config
    }

    /// The backbone.
    pub fn backbone(&self) -> &WindowedVit {
        &self.net
    }

    /// The pyramid's maps of images `[batch, channels, height, width]`, of any size that patches divide.
    ///
    /// # Errors
    /// When images or drop path do not fit the model.
    pub fn maps(&self, images: &Tensor, drop: Option<&DropPath>) -> Result<Vec<Tensor>> {
        let (batch, _, height, width) = images.dims4()?;
        let patch = self.config.vit.grid.patch();
        let grid = PatchGrid::new((height, width), patch).map_err(longmae_vit::Error::from)?;
        let tokens = match grid == self.config.vit.grid {
            true => self.net.encode(images, drop)?,
            false => self.net.on_grid(grid)?.encode(images, drop)?,
        };
        let map = tokens.reshape((batch, grid.rows(), grid.cols(), self.net.dim()))?;
        self.pyramid.forward(&map)
    }

    /// What the detector's guesses about images cost. `sizes` are `(height, width)` of the images without what was put around
    /// them; `rng` draws which anchors and proposals are learned from.
    ///
    /// # Errors
    /// When images, sizes and targets do not fit together or the model.
    pub fn losses(
        &self,
        images: &Tensor,
        sizes: &[(usize, usize)],
        targets: &[Target],
        drop: Option<&DropPath>,
        rng: &mut dyn RngCore,
    ) -> Result<Losses> {
        self.check_batch(images, sizes)?;
        if targets.len() != sizes.len() {
            let expected = format!("{}, one for each image", sizes.len());
            let found = targets.len().to_string();
            return Err(Error::Setting { name: "number of targets", found, expected });
        }
        let heads = &self.config.heads;
        for target in targets {
            target.check(heads.box_head.classes, heads.mask_head.is_some())?;
        }
        let maps = self.maps(images, drop)?;
        let judged = self.rpn.forward(&maps)?;
        let [judgement, regression] = self.rpn.losses(&judged, targets, rng)?;
        let proposals = corners(self.rpn.proposals(&judged, sizes, true)?);
        let mut losses = Losses::default();
        losses.add("loss_rpn_cls", judgement);
        losses.add("loss_rpn_loc", regression);
        let of_heads = self.heads.losses(&maps, &proposals, targets, sizes, rng)?;
        losses.parts.extend(of_heads.parts);
        Ok(losses)
    }

    /// The objects in images, best first, in pixels of the images as they are given.
    ///
    /// # Errors
    /// When images and sizes do not fit together or the model.
    pub fn detect(&self, images: &Tensor, sizes: &[(usize, usize)]) -> Result<Vec<Vec<Detection>>> {
        self.check_batch(images, sizes)?;
        longmae_ops::inference(|| {
            let maps: Vec<Tensor> =
                self.maps(images, None)?.into_iter().map(|map| map.detach()).collect();
            let judged = self.rpn.forward(&maps)?;
            let proposals = corners(self.rpn.proposals(&judged, sizes, false)?);
            // A quarter of a million anchors are freed before the heads run.
            drop(judged);
            self.heads.detect(&maps, &proposals, sizes)
        })
    }

    fn check_batch(&self, images: &Tensor, sizes: &[(usize, usize)]) -> Result<()> {
        let (batch, _, height, width) = images.dims4()?;
        let fits = |(rows, cols): &(usize, usize)| {
            (1..=height).contains(rows) && (1..=width).contains(cols)
        };
        if sizes.len() == batch && sizes.iter().all(fits) {
            return Ok(());
        }
        Err(Error::Setting {
            name: "sizes of images",
            found: format!("{sizes:?}"),
            expected: format!("{batch} within {height} x {width}"),
        })
    }

    /// How each trainable parameter is optimised: layer-wise decay over the backbone, all else at the full rate.
    ///
    /// # Errors
    /// When `decay` is not above 0 and at most 1.
    pub fn tuned(&self, params: &[Param], decay: f64) -> Result<Vec<TunedParam>> {
        layer_decay(&Prefixed(&self.net), params, decay)
    }
}

fn corners(proposals: Vec<Vec<Proposal>>) -> Vec<Vec<Corners>> {
    let corners = |own: Vec<Proposal>| own.into_iter().map(|x| x.corners).collect();
    proposals.into_iter().map(corners).collect()
}

/// The backbone by its names in a detector.
struct Prefixed<'a>(&'a WindowedVit);

impl Backbone for Prefixed<'_> {
    fn features(&self, images: &Tensor) -> longmae_vit::Result<Tensor> {
        self.0.features(images)
    }

    fn prefix_tokens(&self) -> usize {
        self.0.prefix_tokens()
    }

    fn grid(&self) -> PatchGrid {
        self.0.grid()
    }

    fn dim(&self) -> usize {
        self.0.dim()
    }

    fn layers(&self) -> usize {
        self.0.layers()
    }

    fn layer_id(&self, name: &str) -> usize {
        let own = name.strip_prefix(NET).map(|name| self.0.layer_id(name));
        own.unwrap_or_else(|| self.layers() - 1)
    }

    fn no_weight_decay(&self) -> &'static [&'static str] {
        &["backbone.net.pos_embed"]
    }
}
