//! What is compared: boxes, or masks.

use std::sync::Arc;

use longmae_data::Size;
use longmae_data::rle::{Rle, box_iou};

/// Where an object is.
#[derive(Clone, Debug)]
pub(super) enum Region {
    Box([f64; 4]),
    Mask(Mask),
}

/// A mask with what is asked of it again and again.
#[derive(Clone, Debug)]
pub(super) struct Mask {
    runs: Arc<Rle>,
    bbox: [f64; 4],
    area: u64,
}

impl Region {
    pub fn mask(runs: Arc<Rle>) -> Self {
        Self::Mask(Mask { bbox: runs.bbox(), area: runs.area(), runs })
    }

    /// The box itself, or the one around the mask.
    pub fn bbox(&self) -> [f64; 4] {
        match self {
            Self::Box(bbox) => *bbox,
            Self::Mask(mask) => mask.bbox,
        }
    }

    /// The box's area, or that of the mask.
    pub fn area(&self) -> f64 {
        match self {
            Self::Box([_, _, width, height]) => width * height,
            Self::Mask(mask) => mask.area as f64,
        }
    }

    /// Refuses a mask of another size than its image's.
    pub fn check_size(&self, size: Option<Size>) -> Result<(), String> {
        match (self, size) {
            (Self::Mask(mask), Some(Size { height, width })) => {
                let found = mask.runs.size();
                match found == (Size { height, width }) {
                    true => Ok(()),
                    false => Err(format!(
                        "its mask is {} x {} pixels, its image {height} x {width}",
                        found.height, found.width
                    )),
                }
            }
            _ => Ok(()),
        }
    }

    /// Intersection over union with a true region of the same kind and image; of a crowd, the share that lies in it.
    pub fn iou(&self, truth: &Self, crowd: bool) -> f64 {
        match (self, truth) {
            (Self::Box(found), Self::Box(truth)) => box_iou(*found, *truth, crowd),
            (Self::Mask(found), Self::Mask(truth)) => found.iou(truth, crowd),
            _ => 0.0,
        }
    }
}

impl Mask {
    fn iou(&self, truth: &Self, crowd: bool) -> f64 {
        if box_iou(self.bbox, truth.bbox, false) <= 0.0 {
            return 0.0;
        }
        // Masks of other sizes than their image's are refused before they get here.
        let common = self.runs.common(&truth.runs).unwrap_or(0);
        let all = if crowd { self.area } else { self.area + truth.area - common };
        if common == 0 { 0.0 } else { common as f64 / all as f64 }
    }
}
