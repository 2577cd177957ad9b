//! Finding objects: boxes and masks.

pub mod coco_eval;
