//! Detection and instance segmentation: Mask R-CNN (arXiv 1703.06870) and its cascade (arXiv 1712.00726) on a plain backbone,
//! as ViTDet has them (arXiv 2203.16527), with detectron2's parameter names and formulas.
//!
//! [`coco_eval`] scores what any detector found.
//!
//! Maps have channels last. What is drawn at random (which anchors and proposals are learned from) comes from a generator
//! that the caller gives, so that a run can be repeated.

mod anchors;
mod box_head;
pub mod boxes;
pub mod coco_eval;
mod coding;
mod detection;
mod detector;
mod heads;
mod layers;
mod losses;
mod mask_head;
mod matching;
mod nms;
mod paste;
mod pooler;
mod pyramid;
mod rpn;
mod target;

pub use anchors::Anchors;
pub use box_head::{BoxHead, BoxHeadConfig, BoxOutput, Truth};
pub use boxes::Corners;
pub use coding::BoxCoding;
pub use detection::{Detection, Selection};
pub use detector::{Detector, DetectorConfig};
pub use heads::{Heads, HeadsConfig};
pub use losses::{BoxLoss, Losses};
pub use mask_head::{MaskHead, MaskHeadConfig, MaskTruth};
pub use matching::{Label, Match, Matcher, sample};
pub use nms::nms;
pub use paste::paste;
pub use pooler::Pooler;
pub use pyramid::FeaturePyramid;
pub use rpn::{Budget, Judged, Proposal, Rpn, RpnConfig};
pub use target::{Bitmap, Target};
