//! Files of results in COCO's format: a list of `{"image_id", "category_id", "score", "bbox" or "segmentation"}`.

use std::io::Write;
use std::path::Path;

use longmae_data::rle::Rle;
use longmae_data::{CocoSegmentation, Segmentation, Size};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::detections::{Detection, Detections, Found, Placed};
use super::region::Region;
use super::settings::IouType;
use super::truth::GroundTruth;
use crate::{Error, Result};

/// A result as a file has it.
#[derive(Deserialize)]
struct RawResult<'a> {
    image_id: i64,
    category_id: i64,
    score: f64,
    /// An empty list is no box.
    #[serde(default)]
    bbox: Vec<f64>,
    #[serde(borrow)]
    segmentation: Option<CocoSegmentation<'a>>,
}

/// What pycocotools' `loadRes` takes a file for, by its first result.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// Results have boxes, which give their areas; where masks are compared, those without one have their box's.
    Boxes,
    /// Results have masks, which give their areas, and their boxes where these are not given.
    Masks,
}

impl Detections {
    /// Reads a file of results of any detector, as pycocotools' `loadRes` does.
    ///
    /// If the first result has a box, the areas of all are those of their boxes, **even where masks are compared**; so
    /// leave boxes out of results with masks, as [`write_results`] does. [`box_areas`](Self::box_areas) tells.
    ///
    /// # Errors
    /// [`Error::Results`] for a file that cannot be read or is not such a list, and for a result that
    /// [`new`](Self::new) would refuse, with its number, counted from 1.
    pub fn read(truth: &GroundTruth, path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let wrong = |reason: String| Error::Results { path: path.into(), reason };
        let bytes = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
        Self::parse(truth, &bytes).map_err(wrong)
    }

    fn parse(truth: &GroundTruth, bytes: &[u8]) -> Result<Self, String> {
        let results: Vec<RawResult<'_>> = serde_json::from_slice(bytes)
            .map_err(|error| format!("not a list of results: {error}{}", near(bytes, &error)))?;
        let kind = match results.first() {
            Some(first) if !first.bbox.is_empty() => Kind::Boxes,
            Some(RawResult { segmentation: None, .. }) => {
                return Err("result 1: it has neither a bbox nor a segmentation".into());
            }
            _ => Kind::Masks,
        };
        let each = results.into_par_iter().enumerate().map(|(index, result)| {
            result.checked(truth, kind).map_err(|reason| format!("result {}: {reason}", index + 1))
        });
        let found = each.collect::<Result<Vec<_>, _>>()?;
        let box_areas = kind == Kind::Boxes && truth.iou_type() == IouType::Segm;
        Ok(Self::sorted(truth.categories().len(), found).with_box_areas(box_areas))
    }
}

impl RawResult<'_> {
    /// The result with the index of its category.
    fn checked(self, truth: &GroundTruth, kind: Kind) -> Result<(usize, Found), String> {
        let place = Placed::find(truth, self.image_id, self.category_id, self.score)?;
        let bbox = match self.bbox.as_slice() {
            [] => None,
            &[x, y, width, height] => Some([x, y, width, height]),
            other => return Err(format!("its bbox has {} numbers instead of 4", other.len())),
        };
        let bbox_expected = || bbox.ok_or("it has no bbox, but the first result has one");
        let size = place.size;
        match (kind, truth.iou_type()) {
            (Kind::Boxes, IouType::Bbox) => place.found(Region::Box(bbox_expected()?), None),
            (Kind::Boxes, IouType::Segm) => {
                let bbox = bbox_expected()?;
                let mask = match self.segmentation {
                    Some(outline) => mask(outline, size)?,
                    None => Rle::from_box(bbox, known(size)?).map_err(|e| e.to_string())?.into(),
                };
                place.found(Region::mask(mask), Some(Region::Box(bbox).area()))
            }
            (Kind::Masks, iou_type) => {
                let outline = self.segmentation.ok_or("it has no segmentation")?;
                let region = Region::mask(mask(outline, size)?);
                region.check_size(size)?;
                match iou_type {
                    IouType::Segm => place.found(region, None),
                    IouType::Bbox => {
                        let bbox = bbox.unwrap_or_else(|| region.bbox());
                        place.found(Region::Box(bbox), Some(region.area()))
                    }
                }
            }
        }
    }
}

/// The mask of an outline. One that lies in the file as a mask says its own size.
fn mask(outline: CocoSegmentation<'_>, size: Option<Size>) -> Result<std::sync::Arc<Rle>, String> {
    match outline.checked(size).map_err(|e| e.to_string())? {
        Some(Segmentation::Mask(mask)) => Ok(mask),
        Some(outline) => outline.to_mask(known(size)?).map_err(|e| e.to_string()),
        None => Err("its segmentation is empty".into()),
    }
}

fn known(size: Option<Size>) -> Result<Size, String> {
    size.ok_or_else(|| "its image has no height and width in the annotations".into())
}

/// What stands where JSON ends to be JSON, such as NaN.
fn near(bytes: &[u8], error: &serde_json::Error) -> String {
    if !error.is_syntax() {
        return String::new();
    }
    let line = bytes.split(|&byte| byte == b'\n').nth(error.line().saturating_sub(1));
    let rest = line.and_then(|line| line.get(error.column().saturating_sub(1)..));
    let text: String = String::from_utf8_lossy(rest.unwrap_or_default()).chars().take(12).collect();
    format!(", at `{text}`")
}

/// A result as it is written.
#[derive(Serialize)]
struct WrittenBox {
    image_id: i64,
    category_id: i64,
    bbox: [f64; 4],
    score: f64,
}

#[derive(Serialize)]
struct WrittenMask {
    image_id: i64,
    category_id: i64,
    segmentation: WrittenRle,
    score: f64,
}

#[derive(Serialize)]
struct WrittenRle {
    size: [usize; 2],
    counts: String,
}

/// Writes results in COCO's format, one a line: boxes, or masks without boxes, since from these pycocotools would take the
/// areas.
///
/// # Errors
/// [`Error::Write`], and [`Error::Detection`] for one without a mask where these are to be written, or with a number that is not
/// finite, which JSON does not have.
pub fn write_results(
    to: &mut impl Write,
    detections: &[Detection],
    iou_type: IouType,
) -> Result<()> {
    let mut separator = "[\n";
    for (index, detection) in detections.iter().enumerate() {
        let text = line(detection, iou_type)
            .map_err(|reason| Error::Detection { number: index + 1, reason })?;
        write!(to, "{separator}{text}")?;
        separator = ",\n";
    }
    let end = if detections.is_empty() { "[]\n" } else { "\n]\n" };
    Ok(write!(to, "{end}")?)
}

fn line(detection: &Detection, iou_type: IouType) -> Result<String, String> {
    let Detection { image_id, category_id, score, bbox, mask } = detection;
    let (image_id, category_id, score, bbox) = (*image_id, *category_id, *score, *bbox);
    if !score.is_finite() || bbox.iter().any(|side| !side.is_finite()) {
        return Err(format!("its score is {score} and its box {bbox:?}, not finite numbers"));
    }
    let text = match iou_type {
        IouType::Bbox => serde_json::to_string(&WrittenBox { image_id, category_id, bbox, score }),
        IouType::Segm => {
            let mask = mask.as_ref().ok_or("it has no mask")?;
            let Size { height, width } = mask.size();
            let segmentation = WrittenRle { size: [height, width], counts: mask.to_compressed() };
            serde_json::to_string(&WrittenMask { image_id, category_id, segmentation, score })
        }
    };
    text.map_err(|error| error.to_string())
}
