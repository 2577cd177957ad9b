//! What COCO's evaluation is of: pycocotools' `Params`.

use std::fmt;

/// Whether boxes or masks are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IouType {
    /// Boxes.
    Bbox,
    /// Masks.
    Segm,
}

impl fmt::Display for IouType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bbox => "bbox",
            Self::Segm => "segm",
        })
    }
}

/// Which objects count, by their area in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Area {
    /// All.
    All,
    /// Up to 32 x 32.
    Small,
    /// From 32 x 32 to 96 x 96.
    Medium,
    /// From 96 x 96.
    Large,
}

impl fmt::Display for Area {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::All => "all",
            Self::Small => "small",
            Self::Medium => "medium",
            Self::Large => "large",
        })
    }
}

impl Area {
    /// All of them, in pycocotools' order.
    pub const EACH: [Self; 4] = [Self::All, Self::Small, Self::Medium, Self::Large];

    /// Whether an area lies in the range; both ends belong to it.
    pub(super) fn contains(self, area: f64) -> bool {
        let (low, high) = match self {
            Self::All => (0.0, 1e10),
            Self::Small => (0.0, 1024.0),
            Self::Medium => (1024.0, 9216.0),
            Self::Large => (9216.0, 1e10),
        };
        (low..=high).contains(&area)
    }
}

/// The number of thresholds of the intersection over union: 0.5, 0.55 and so on to 0.95.
pub const THRESHOLDS: usize = 10;

/// The number of recalls at which precision is read: 0, 0.01 and so on to 1.
pub const RECALLS: usize = 101;

/// How many detections of an image and category count, those with the best scores.
pub const MAX_DETECTIONS: [usize; 3] = [1, 10, 100];

/// A threshold of the intersection over union, rounded as `numpy.linspace` does; the ninth is a little below 0.9.
pub const fn iou_threshold(number: usize) -> f64 {
    match number {
        9 => 0.95,
        _ => 0.5 + number as f64 * ((0.95 - 0.5) / 9.0),
    }
}

/// A recall at which precision is read, likewise.
pub(super) fn recall_threshold(number: usize) -> f64 {
    match number {
        100 => 1.0,
        _ => number as f64 * 0.01,
    }
}
