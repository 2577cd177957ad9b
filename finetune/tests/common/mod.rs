//! What several tests share.

pub mod coco;
