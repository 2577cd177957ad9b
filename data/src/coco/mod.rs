//! COCO, and datasets in its format.

mod annotations;
#[cfg(feature = "codecs")]
mod dataset;
mod segmentation;
#[cfg(feature = "codecs")]
mod splits;

pub use annotations::{CocoAnnotations, CocoCategory, CocoImage};
#[cfg(feature = "codecs")]
pub use dataset::Coco;
pub use segmentation::CocoSegmentation;
