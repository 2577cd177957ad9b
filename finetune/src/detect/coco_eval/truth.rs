//! What there is to find.

use std::path::Path;

use longmae_data::{CocoAnnotations, CocoCategory, CocoImage, Instance, Size};
use rayon::prelude::*;

use super::accumulate::accumulate;
use super::detections::Detections;
use super::evaluation::Evaluation;
use super::matching::match_category;
use super::region::Region;
use super::settings::IouType;
use crate::{Error, Result};

/// The objects of a dataset, ready to be compared.
#[derive(Clone, Debug)]
pub struct GroundTruth {
    iou_type: IouType,
    categories: Vec<CocoCategory>,
    /// In the order of their numbers.
    images: Vec<Place>,
    /// Of each category, image by image, in the order of the file.
    objects: Vec<Vec<Object>>,
}

/// An image's number and size.
#[derive(Clone, Copy, Debug)]
struct Place {
    id: i64,
    size: Option<Size>,
}

/// An object to be found.
#[derive(Clone, Debug)]
pub(super) struct Object {
    /// The index of its image.
    pub image: usize,
    /// The number of its annotation.
    pub id: i64,
    pub region: Region,
    /// As the file has it.
    pub area: f64,
    pub crowd: bool,
}

impl GroundTruth {
    /// Takes the objects' boxes or masks, the latter drawn from their polygons.
    ///
    /// # Errors
    /// [`Error::Truth`] for an object without an outline, or one that cannot be drawn, where masks are compared, and for a
    /// list of images without annotations.
    pub fn new(annotations: &CocoAnnotations, iou_type: IouType) -> Result<Self> {
        check_order(annotations)?;
        let each = annotations.images.par_iter().enumerate();
        let of_images = each.map(|(index, image)| objects(index, image, iou_type));
        let mut objects = vec![Vec::new(); annotations.categories.len()];
        for (category, object) in of_images.collect::<Result<Vec<_>>>()?.into_iter().flatten() {
            objects[category].push(object);
        }
        let place = |image: &CocoImage| Place { id: image.id, size: image.size };
        Ok(Self {
            iou_type,
            categories: annotations.categories.clone(),
            images: annotations.images.iter().map(place).collect(),
            objects,
        })
    }

    /// Reads a file of annotations.
    ///
    /// # Errors
    /// What [`CocoAnnotations::read`] and [`new`](Self::new) refuse, with the file's name.
    pub fn read(path: impl AsRef<Path>, iou_type: IouType) -> Result<Self> {
        let path = path.as_ref();
        Self::new(&CocoAnnotations::read(path)?, iou_type).map_err(|error| error.of_file(path))
    }

    /// Whether boxes or masks are compared.
    pub fn iou_type(&self) -> IouType {
        self.iou_type
    }

    /// The categories, in the order of their numbers.
    pub fn categories(&self) -> &[CocoCategory] {
        &self.categories
    }

    /// The number of images.
    pub fn images(&self) -> usize {
        self.images.len()
    }

    /// The number of objects, crowds among them.
    pub fn objects(&self) -> usize {
        self.objects.iter().map(Vec::len).sum()
    }

    /// Whether an annotation has the id 0, by which pycocotools says that nothing was found: its object counts as missed,
    /// and what finds it as wrong.
    pub fn has_zero_id(&self) -> bool {
        self.objects.iter().flatten().any(|object| object.id == 0)
    }

    /// Compares what was found with what there is.
    pub fn evaluate(&self, found: &Detections) -> Evaluation {
        let each = self.objects.par_iter().zip(found.of_categories());
        let results = each.map(|(objects, found)| accumulate(match_category(objects, found)));
        Evaluation::new(self.iou_type, self.categories.clone(), results.collect())
    }

    /// The index of a category.
    pub(super) fn category(&self, id: i64) -> Option<usize> {
        self.categories.binary_search_by_key(&id, |category| category.id).ok()
    }

    /// The index and size of an image.
    pub(super) fn image(&self, id: i64) -> Option<(usize, Option<Size>)> {
        let index = self.images.binary_search_by_key(&id, |image| image.id).ok()?;
        Some((index, self.images[index].size))
    }
}

/// Refuses what [`CocoAnnotations::read`] would not give, and a list of images alone.
fn check_order(annotations: &CocoAnnotations) -> Result<()> {
    let CocoAnnotations { categories, images, annotated } = annotations;
    let reason = if !annotated {
        "there is no list of annotations"
    } else if !categories.is_sorted_by(|a, b| a.id < b.id)
        || !images.is_sorted_by(|a, b| a.id < b.id)
    {
        "categories and images are not in the order of their ids"
    } else if images.iter().flat_map(|i| &*i.instances).any(|o| o.category >= categories.len()) {
        "an object is of a category that is not there"
    } else {
        return Ok(());
    };
    Err(Error::Truth { reason: reason.into() })
}

/// The objects of an image, each with the index of its category.
fn objects(index: usize, image: &CocoImage, iou_type: IouType) -> Result<Vec<(usize, Object)>> {
    let object = |instance: &Instance| {
        let region = region(instance, image.size, iou_type).map_err(|reason| Error::Truth {
            reason: format!("annotation {} of image {}: {reason}", instance.id, image.id),
        })?;
        let Instance { id, category, area, crowd, .. } = *instance;
        Ok((category, Object { image: index, id, region, area, crowd }))
    };
    image.instances.iter().map(object).collect()
}

fn region(instance: &Instance, size: Option<Size>, iou_type: IouType) -> Result<Region, String> {
    if iou_type == IouType::Bbox {
        return Ok(Region::Box(instance.bbox));
    }
    let outline = instance.segmentation.as_ref().ok_or("it has no segmentation")?;
    let size = size.ok_or("its image has no height and width")?;
    outline.to_mask(size).map(Region::mask).map_err(|e| e.to_string())
}
