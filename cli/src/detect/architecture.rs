//! What a detector is made of, as it is meant.

use longmae_finetune::detect::{BoxLoss, Budget, DetectorConfig, Selection};
use longmae_patching::PatchGrid;
use longmae_vit::{VitConfig, WindowedVitConfig};

use super::flags::{ArchitectureFlags, Flags};
use crate::choice::one_of;
use crate::exit::usage;
use crate::image_size::ImageSize;
use crate::run::numbers::{count, positive, within};

/// The settings that exist without masks do not.
const OF_MASKS: &str = "is for a detector with masks: leave it or --masks false away";

/// All sizes but the number of categories.
#[derive(Debug, Clone)]
pub struct Architecture {
    vit: WindowedVitConfig,
    masks: bool,
    cascade: bool,
    channels: usize,
    anchor_size: f64,
    rpn_convs: usize,
    box_convs: usize,
    box_fc_dim: usize,
    mask_convs: usize,
    agnostic_boxes: bool,
    agnostic_masks: bool,
    box_loss: BoxLoss,
    rpn_samples: usize,
    proposals: usize,
    roi_samples: usize,
    selection: Selection,
}

impl Architecture {
    /// Checks settings and fills in what is not set.
    pub fn resolve(flags: &mut Flags, encoder: &VitConfig) -> anyhow::Result<Self> {
        let vit = backbone(&mut flags.architecture, encoder)?;
        let (box_loss, selection) = (box_loss(flags)?, selection(flags)?);
        let sizes = &mut flags.architecture;
        let masks = *sizes.masks.get_or_insert(true);
        if let Some(false) = sizes.masks.filter(|_| sizes.mask_convs.is_some()) {
            return Err(usage(format!("mask_convs {OF_MASKS}")));
        }
        if let Some(false) = sizes.masks.filter(|_| sizes.agnostic_masks.is_some()) {
            return Err(usage(format!("agnostic_masks {OF_MASKS}")));
        }
        let cascade = *sizes.cascade.get_or_insert(false);
        let agnostic_boxes = *sizes.agnostic_boxes.get_or_insert(cascade);
        if cascade && !agnostic_boxes {
            return Err(usage(
                "agnostic_boxes false: the boxes of a cascade are of all categories",
            ));
        }
        let anchor = *sizes.anchor_size.get_or_insert(2.0 * vit.grid.patch() as f64);
        let channels = *sizes.pyramid_dim.get_or_insert(256);
        let most = 1 << 14;
        Ok(Self {
            vit,
            masks,
            cascade,
            agnostic_boxes,
            box_loss,
            selection,
            channels: count("pyramid_dim", channels, most)?,
            anchor_size: within("anchor_size", positive("anchor_size", anchor)?, 0.0, 1e5)?,
            rpn_convs: count("rpn_convs", *sizes.rpn_convs.get_or_insert(2), 64)?,
            box_convs: within_count("box_convs", *sizes.box_convs.get_or_insert(4), 64)?,
            box_fc_dim: count("box_fc_dim", *sizes.box_fc_dim.get_or_insert(1024), most)?,
            mask_convs: match masks {
                true => within_count("mask_convs", *sizes.mask_convs.get_or_insert(4), 64)?,
                false => 0,
            },
            agnostic_masks: masks && *sizes.agnostic_masks.get_or_insert(false),
            rpn_samples: count("rpn_samples", *flags.rpn_samples.get_or_insert(256), 1 << 20)?,
            proposals: count("proposals", *flags.proposals.get_or_insert(1000), 1 << 20)?,
            roi_samples: count("roi_samples", *flags.roi_samples.get_or_insert(512), 1 << 20)?,
        })
    }

    /// Whether masks are found.
    pub fn masks(&self) -> bool {
        self.masks
    }

    /// The encoder on the grid that its positions are of.
    pub fn pretrained(&self) -> VitConfig {
        let WindowedVitConfig { pretrain_grid, channels, tower, .. } = self.vit;
        VitConfig { grid: pretrain_grid, channels, tower }
    }

    /// What it is called.
    pub fn name(&self) -> String {
        let kind = if self.masks { "Mask R-CNN" } else { "Faster R-CNN" };
        format!("{}{kind}", if self.cascade { "Cascade " } else { "" })
    }

    /// A detector of so many categories.
    pub fn config(&self, categories: usize) -> DetectorConfig {
        let mut config = DetectorConfig::mask_rcnn(self.vit, categories, self.masks);
        if self.cascade {
            config = config.cascade();
        }
        config = config.with_channels(self.channels);
        for (level, size) in config.rpn.anchors.sizes.iter_mut().enumerate() {
            *size = self.anchor_size * f64::from(1 << level);
        }
        config.rpn.convolutions = self.rpn_convs;
        config.rpn.samples = self.rpn_samples;
        config.rpn.box_loss = self.box_loss;
        config.rpn.before_nms = Budget { training: 2 * self.proposals, detection: self.proposals };
        config.rpn.after_nms = Budget { training: self.proposals, detection: self.proposals };
        config.heads.box_head.convolutions = self.box_convs;
        config.heads.box_head.width = self.box_fc_dim;
        config.heads.box_head.class_agnostic = self.agnostic_boxes;
        if let Some(head) = &mut config.heads.mask_head {
            head.convolutions = self.mask_convs;
            head.class_agnostic = self.agnostic_masks;
        }
        config.heads.samples = self.roi_samples;
        config.heads.box_loss = self.box_loss;
        config.heads.selection = self.selection;
        config
    }
}

fn within_count(name: &str, value: usize, most: usize) -> anyhow::Result<usize> {
    if value == 0 { Ok(0) } else { count(name, value, most) }
}

fn backbone(
    flags: &mut ArchitectureFlags,
    encoder: &VitConfig,
) -> anyhow::Result<WindowedVitConfig> {
    let (patch, depth) = (encoder.grid.patch(), encoder.tower.depth);
    if patch < 4 || !patch.is_power_of_two() {
        return Err(usage(format!("patch_size {patch}: expected a power of two from 4 on")));
    }
    if encoder.grid.rows() != encoder.grid.cols() || encoder.grid.rows() < 2 {
        let (height, width) = encoder.grid.image_size();
        return Err(usage(format!(
            "image_size {height}x{width}: expected a square of at least two patches a side"
        )));
    }
    // 224 where that is a whole number of patches: 16 and its like.
    let side = 224 / patch * patch;
    let usual = ImageSize { height: side.max(patch), width: side.max(patch) };
    let ImageSize { height, width } = *flags.pretrain_size.get_or_insert(usual);
    let pretrain_grid = PatchGrid::new((height, width), patch)
        .map_err(|error| usage(format!("pretrain_size {height}x{width}: {error}")))?;
    let window = count("window", *flags.window.get_or_insert(14), 1 << 12)?;
    let global_blocks = *flags.global_blocks.get_or_insert(depth.min(4));
    if global_blocks > depth {
        return Err(usage(format!(
            "global_blocks {global_blocks}: the encoder has {depth} blocks"
        )));
    }
    let (grid, channels, tower) = (encoder.grid, encoder.channels, encoder.tower);
    Ok(WindowedVitConfig { grid, pretrain_grid, channels, tower, window, global_blocks })
}

fn box_loss(flags: &mut Flags) -> anyhow::Result<BoxLoss> {
    let name = flags.box_loss.get_or_insert_with(|| "l1".to_owned());
    one_of("box_loss", name, &["l1", "giou"], &[])?;
    Ok(match name.as_str() {
        "giou" => BoxLoss::GeneralisedIou,
        _ => BoxLoss::SmoothL1 { beta: 0.0 },
    })
}

fn selection(flags: &mut Flags) -> anyhow::Result<Selection> {
    let score = *flags.score_threshold.get_or_insert(0.05);
    let nms = *flags.nms.get_or_insert(0.5);
    let most = *flags.max_detections.get_or_insert(100);
    Ok(Selection {
        score: within("score_threshold", score, 0.0, 1.0)? as f32,
        nms: within("nms", nms, 0.0, 1.0)? as f32,
        most: count("max_detections", most, 1 << 20)?,
    })
}
