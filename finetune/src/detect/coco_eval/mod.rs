//! COCO's evaluation of boxes and masks, as pycocotools' `COCOeval` does it.
//!
//! [`GroundTruth`] is what a file of annotations says, [`Detections`] what a detector found, from a file of results or
//! from memory; [`GroundTruth::evaluate`] compares them, and the [`Evaluation`] has the twelve figures and each
//! category's average precision. Whatever pycocotools does is done here, its oddities too:
//!
//! - Equal scores keep the order of the results; of equally good objects a detection takes the last one.
//! - An object whose annotation has the id 0 is never found ([`GroundTruth::has_zero_id`]).
//! - Of results that have boxes, also in the evaluation of masks, the area is the box's ([`Detections::read`]).
//!
//! Categories and images are spread over rayon's threads; nothing depends on how many there are.
//!
//! ```
//! use longmae_data::{CocoAnnotations, CocoCategory, CocoImage, Instance};
//! use longmae_finetune::detect::coco_eval::{Detection, Detections, GroundTruth, IouType};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // As `CocoAnnotations::read` gives it.
//! let bbox = [10.0, 10.0, 50.0, 50.0];
//! let cat = Instance { id: 1, category: 0, bbox, area: 2500.0, crowd: false, segmentation: None };
//! let annotations = CocoAnnotations {
//!     categories: vec![CocoCategory { id: 3, name: "cat".into() }],
//!     images: vec![CocoImage { id: 7, file_name: None, size: None, instances: [cat].into() }],
//!     annotated: true,
//! };
//! let truth = GroundTruth::new(&annotations, IouType::Bbox)?;
//! let bbox = [12.0, 10.0, 50.0, 50.0];
//! let found = Detection { image_id: 7, category_id: 3, score: 0.9, bbox, mask: None };
//! let evaluation = truth.evaluate(&Detections::new(&truth, vec![found])?);
//! // Their intersection over union is 0.923: found at nine of ten thresholds.
//! assert!((evaluation.stats()[0] - 0.9).abs() < 1e-12);
//! # Ok(())
//! # }
//! ```

mod accumulate;
mod detections;
mod evaluation;
mod matching;
mod region;
mod results;
mod settings;
mod truth;

pub use detections::{Detection, Detections};
pub use evaluation::{Evaluation, STATS, Stat};
pub use results::write_results;
pub use settings::{Area, IouType, MAX_DETECTIONS, RECALLS, THRESHOLDS, iou_threshold};
pub use truth::GroundTruth;
