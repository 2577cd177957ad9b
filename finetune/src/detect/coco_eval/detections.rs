//! What a detector found.

use std::cmp::Ordering;
use std::sync::Arc;

use longmae_data::Size;
use longmae_data::rle::Rle;
use rayon::prelude::*;

use super::region::Region;
use super::settings::{IouType, MAX_DETECTIONS};
use super::truth::GroundTruth;
use crate::{Error, Result};

/// An object that a detector found.
#[derive(Clone, Debug)]
pub struct Detection {
    /// The number of its image, as the annotations have it.
    pub image_id: i64,
    /// The number of its category, likewise.
    pub category_id: i64,
    /// How sure the detector is.
    pub score: f64,
    /// Its box: x and y of the upper left corner, width and height, in pixels.
    pub bbox: [f64; 4],
    /// Its mask, of its image's size.
    pub mask: Option<Arc<Rle>>,
}

/// Detections, checked and in the order in which they are compared.
#[derive(Clone, Debug)]
pub struct Detections {
    /// Of each category, image by image, by falling score; never more of an image than count.
    of_categories: Vec<Vec<Found>>,
    box_areas: bool,
}

/// A detection, ready to be compared.
#[derive(Clone, Debug)]
pub(super) struct Found {
    /// The index of its image.
    pub image: usize,
    pub score: f64,
    pub region: Region,
    /// What decides whether it may count as small.
    pub area: f64,
}

impl Detections {
    /// Takes the boxes or masks, whichever are compared; an area is that of the box or the mask.
    ///
    /// # Errors
    /// [`Error::Detection`] for an image or a category that the annotations lack, a score or a box that is not finite, and
    /// a mask that is missing or of another size than its image.
    pub fn new(truth: &GroundTruth, detections: Vec<Detection>) -> Result<Self> {
        let each = detections.into_par_iter().enumerate();
        let found = each.map(|(index, detection)| {
            let Detection { image_id, category_id, score, bbox, mask } = detection;
            let place = Placed::find(truth, image_id, category_id, score);
            place
                .and_then(|place| place.found(region(truth.iou_type(), bbox, mask)?, None))
                .map_err(|reason| Error::Detection { number: index + 1, reason })
        });
        let found = found.collect::<Result<Vec<_>>>()?;
        Ok(Self::sorted(truth.categories().len(), found))
    }

    /// How many there are; of each image and category 100 at most are kept.
    pub fn len(&self) -> usize {
        self.of_categories.iter().map(Vec::len).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Sorts detections, each with the index of its category.
    pub(super) fn sorted(categories: usize, found: Vec<(usize, Found)>) -> Self {
        let mut of_categories = vec![Vec::new(); categories];
        for (category, found) in found {
            of_categories[category].push(found);
        }
        of_categories.par_iter_mut().for_each(|list| {
            // Stable, and 0 equals -0: numpy's merge sort of negated scores.
            list.sort_by(|a: &Found, b: &Found| {
                a.image.cmp(&b.image).then(b.score.partial_cmp(&a.score).unwrap_or(Ordering::Equal))
            });
            let (mut image, mut kept) = (usize::MAX, 0);
            list.retain(|found| {
                kept = if found.image == image { kept + 1 } else { 1 };
                image = found.image;
                kept <= MAX_DETECTIONS[2]
            });
        });
        Self { of_categories, box_areas: false }
    }

    /// Whether masks are compared, but counted as small or large by their boxes.
    pub fn box_areas(&self) -> bool {
        self.box_areas
    }

    pub(super) fn with_box_areas(self, box_areas: bool) -> Self {
        Self { box_areas, ..self }
    }

    pub(super) fn of_categories(&self) -> &[Vec<Found>] {
        &self.of_categories
    }
}

/// Where a detection belongs.
pub(super) struct Placed {
    image: usize,
    category: usize,
    score: f64,
    pub size: Option<Size>,
}

impl Placed {
    pub fn find(
        truth: &GroundTruth,
        image_id: i64,
        category_id: i64,
        score: f64,
    ) -> Result<Self, String> {
        let (image, size) = truth
            .image(image_id)
            .ok_or_else(|| format!("image {image_id} is not in the annotations"))?;
        let category = truth
            .category(category_id)
            .ok_or_else(|| format!("category {category_id} is not in the annotations"))?;
        if !score.is_finite() {
            return Err(format!("its score is {score}, not a finite number"));
        }
        Ok(Self { image, category, score, size })
    }

    /// The detection with its region, of which `area` is the area unless another one counts.
    pub fn found(self, region: Region, area: Option<f64>) -> Result<(usize, Found), String> {
        if let Region::Box(bbox) = &region
            && bbox.iter().any(|side| !side.is_finite())
        {
            return Err(format!("its box is {bbox:?}, not four finite numbers"));
        }
        region.check_size(self.size)?;
        let area = area.unwrap_or_else(|| region.area());
        Ok((self.category, Found { image: self.image, score: self.score, region, area }))
    }
}

fn region(iou_type: IouType, bbox: [f64; 4], mask: Option<Arc<Rle>>) -> Result<Region, String> {
    match (iou_type, mask) {
        (IouType::Bbox, _) => Ok(Region::Box(bbox)),
        (IouType::Segm, Some(mask)) => Ok(Region::mask(mask)),
        (IouType::Segm, None) => Err("it has no mask".into()),
    }
}
