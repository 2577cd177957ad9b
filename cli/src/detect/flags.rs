//! The settings of a detector as they are written: flags and a recipe's keys are the same list.

use serde::{Deserialize, Serialize};

use crate::image_size::ImageSize;
use crate::run::flags::{DataFlags, EncoderFlags, MachineFlags, OptimisationFlags, RunFlags};

/// Every setting, each optional.
#[derive(Debug, Clone, Default, PartialEq, clap::Args, Serialize, Deserialize)]
#[serde(default)]
pub struct Flags {
    #[command(flatten)]
    #[serde(flatten)]
    pub data: DataFlags,
    /// Smallest factor of large-scale jitter: the image, as large as fits into the square, is resized by it
    #[arg(long, alias = "min_scale", value_name = "FACTOR", help_heading = "Data")]
    pub min_scale: Option<f64>,
    /// Largest factor of large-scale jitter
    #[arg(long, alias = "max_scale", value_name = "FACTOR", help_heading = "Data")]
    pub max_scale: Option<f64>,
    /// Train on images without objects too
    #[arg(long, alias = "keep_empty", num_args = 0..=1, default_missing_value = "true", value_name = "BOOL", help_heading = "Data")]
    pub keep_empty: Option<bool>,

    #[command(flatten)]
    #[serde(flatten)]
    pub encoder: EncoderFlags,
    #[command(flatten)]
    #[serde(flatten)]
    pub architecture: ArchitectureFlags,

    /// Boxes and anchors are compared by `l1` (of their differences) or `giou` (generalised intersection over union)
    #[arg(long, alias = "box_loss", value_name = "NAME", help_heading = "Objective")]
    pub box_loss: Option<String>,
    /// Anchors of an image that are learned from
    #[arg(long, alias = "rpn_samples", value_name = "N", help_heading = "Objective")]
    pub rpn_samples: Option<usize>,
    /// Proposals of an image, of the best twice as many anchors of each map
    #[arg(long, value_name = "N", help_heading = "Objective")]
    pub proposals: Option<usize>,
    /// Proposals of an image that boxes and masks are learned from
    #[arg(long, alias = "roi_samples", value_name = "N", help_heading = "Objective")]
    pub roi_samples: Option<usize>,

    /// A box is a detection if it is likelier than this
    #[arg(long, alias = "score_threshold", value_name = "P", help_heading = "Detection")]
    pub score_threshold: Option<f64>,
    /// Overlap within a category above which the worse of two boxes is dropped
    #[arg(long, value_name = "IOU", help_heading = "Detection")]
    pub nms: Option<f64>,
    /// Most detections of an image
    #[arg(long, alias = "max_detections", value_name = "N", help_heading = "Detection")]
    pub max_detections: Option<usize>,

    #[command(flatten)]
    #[serde(flatten)]
    pub optimisation: OptimisationFlags,
    /// Each block's learning rate is that of the next times this; 1 is the same for all
    #[arg(long, alias = "layer_decay", value_name = "FACTOR", help_heading = "Optimisation")]
    pub layer_decay: Option<f64>,
    /// `step` (to a tenth at each of --lr-drops), or `cosine` (down to --min-lr)
    #[arg(long, alias = "lr_schedule", value_name = "NAME", help_heading = "Optimisation")]
    pub lr_schedule: Option<String>,
    /// Shares of the run's steps at which the rate drops to a tenth (default: 0.889,0.963)
    #[arg(
        long,
        alias = "lr_drops",
        value_name = "A,B",
        value_delimiter = ',',
        help_heading = "Optimisation"
    )]
    pub lr_drops: Option<Vec<f64>>,
    #[command(flatten)]
    #[serde(flatten)]
    pub machine: MachineFlags,
    #[command(flatten)]
    #[serde(flatten)]
    pub run: RunFlags,
}

/// What a detector is made of, beside its encoder.
#[derive(Debug, Clone, Default, PartialEq, clap::Args, Serialize, Deserialize)]
#[serde(default)]
pub struct ArchitectureFlags {
    /// Image size that the positions are of, in pixels (default: that of the weights to start from, or 224)
    #[arg(long, alias = "pretrain_size", value_name = "SIZE", help_heading = "Model")]
    pub pretrain_size: Option<ImageSize>,
    /// Side of attention's windows in tokens
    #[arg(long, value_name = "N", help_heading = "Model")]
    pub window: Option<usize>,
    /// Blocks that attend to the whole image
    #[arg(long, alias = "global_blocks", value_name = "N", help_heading = "Model")]
    pub global_blocks: Option<usize>,
    /// Refine boxes in three stages
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL", help_heading = "Model")]
    pub cascade: Option<bool>,
    /// Find masks too (on by default)
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL", help_heading = "Model")]
    pub masks: Option<bool>,
    /// Channels of the pyramid's maps and of the heads' convolutions
    #[arg(long, alias = "pyramid_dim", value_name = "N", help_heading = "Model")]
    pub pyramid_dim: Option<usize>,
    /// Side of the smallest anchors in pixels; those of each map are twice as large (default: twice the patch size)
    #[arg(long, alias = "anchor_size", value_name = "PIXELS", help_heading = "Model")]
    pub anchor_size: Option<f64>,
    /// Convolutions before anchors are judged
    #[arg(long, alias = "rpn_convs", value_name = "N", help_heading = "Model")]
    pub rpn_convs: Option<usize>,
    /// Convolutions of the box head
    #[arg(long, alias = "box_convs", value_name = "N", help_heading = "Model")]
    pub box_convs: Option<usize>,
    /// Width of the box head's linear layer
    #[arg(long, alias = "box_fc_dim", value_name = "N", help_heading = "Model")]
    pub box_fc_dim: Option<usize>,
    /// Convolutions of the mask head
    #[arg(long, alias = "mask_convs", value_name = "N", help_heading = "Model")]
    pub mask_convs: Option<usize>,
    /// All categories share one box (as they always do in a cascade)
    #[arg(long, alias = "agnostic_boxes", num_args = 0..=1, default_missing_value = "true", value_name = "BOOL", help_heading = "Model")]
    pub agnostic_boxes: Option<bool>,
    /// All categories share one mask
    #[arg(long, alias = "agnostic_masks", num_args = 0..=1, default_missing_value = "true", value_name = "BOOL", help_heading = "Model")]
    pub agnostic_masks: Option<bool>,
}
