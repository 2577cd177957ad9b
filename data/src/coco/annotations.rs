//! The files of annotations of COCO, and of all datasets in its format.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::BufReader;
use std::path::{Component, Path};
use std::sync::Arc;

use serde::Deserialize;

use super::segmentation::{Counts, RawSegmentation};
use crate::error::{Error, Result};
use crate::instances::{Instance, Segmentation};
use crate::rle::Rle;
use crate::transform::Size;

/// What a file says, checked.
pub(super) struct Annotations {
    /// The categories' names in the order of their numbers.
    pub classes: Vec<String>,
    /// In the order of their numbers.
    pub images: Vec<AnnotatedImage>,
    /// Whether the file has annotations at all; a list of images has none.
    pub annotated: bool,
}

/// An image and its objects.
pub(super) struct AnnotatedImage {
    pub id: i64,
    /// A path below the folder of images.
    pub file_name: String,
    pub size: Size,
    pub instances: Arc<[Instance]>,
}

#[derive(Deserialize)]
struct RawFile {
    images: Vec<RawImage>,
    annotations: Option<Vec<RawAnnotation>>,
    #[serde(default)]
    categories: Vec<RawCategory>,
}

#[derive(Deserialize)]
struct RawImage {
    id: i64,
    file_name: String,
    height: usize,
    width: usize,
}

#[derive(Deserialize)]
struct RawCategory {
    id: i64,
    name: String,
}

#[derive(Deserialize)]
struct RawAnnotation {
    id: i64,
    image_id: i64,
    category_id: i64,
    bbox: [f64; 4],
    /// That of the box, if it is not given.
    area: Option<f64>,
    #[serde(default)]
    iscrowd: u8,
    segmentation: Option<RawSegmentation>,
}

impl Annotations {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// [`Error::Io`], and [`Error::Annotations`] for a file that is not of this format, numbers that appear twice,
    /// references to what is not there, and boxes, polygons and masks that cannot be.
    pub fn read(path: &Path) -> Result<Self> {
        let open = File::open(path).map_err(|source| Error::Io { path: path.into(), source });
        let raw: RawFile = serde_json::from_reader(BufReader::with_capacity(1 << 16, open?))
            .map_err(|e| wrong(path, format!("not a file of COCO's format: {e}")))?;
        Self::checked(raw).map_err(|reason| wrong(path, reason))
    }

    fn checked(raw: RawFile) -> Result<Self, String> {
        let (classes, categories) = categories(raw.categories)?;
        let mut images: Vec<_> =
            raw.images.into_iter().map(checked_image).collect::<Result<_, _>>()?;
        images.sort_by_key(|(image, _)| image.id);
        let duplicate = images.windows(2).find(|pair| pair[0].0.id == pair[1].0.id);
        if let Some([(first, _), (second, _)]) = duplicate {
            return Err(format!(
                "two images have the id {}: {} and {}",
                first.id, first.file_name, second.file_name
            ));
        }
        let annotated = raw.annotations.is_some();
        let mut ids = HashSet::new();
        for annotation in raw.annotations.unwrap_or_default() {
            let id = annotation.id;
            if !ids.insert(id) {
                return Err(format!("two annotations have the id {id}"));
            }
            let Ok(at) = images.binary_search_by_key(&annotation.image_id, |(image, _)| image.id)
            else {
                return Err(format!(
                    "annotation {id} is of image {}, which is not in the file",
                    annotation.image_id
                ));
            };
            let (image, instances) = &mut images[at];
            let instance = checked_annotation(annotation, &categories, image.size)
                .map_err(|reason| format!("annotation {id} of image {}: {reason}", image.id))?;
            instances.push(instance);
        }
        let images = images
            .into_iter()
            .map(|(image, instances)| AnnotatedImage { instances: instances.into(), ..image });
        Ok(Self { classes, images: images.collect(), annotated })
    }
}

pub(super) fn wrong(path: &Path, reason: String) -> Error {
    Error::Annotations { path: path.into(), reason }
}

/// The names in the order of their numbers, and the index of each number.
fn categories(mut raw: Vec<RawCategory>) -> Result<(Vec<String>, HashMap<i64, usize>), String> {
    raw.sort_by_key(|category| category.id);
    let index: HashMap<_, _> = raw.iter().enumerate().map(|(i, c)| (c.id, i)).collect();
    if let Some([first, second]) = raw.windows(2).find(|pair| pair[0].id == pair[1].id) {
        return Err(format!(
            "two categories have the id {}: {} and {}",
            first.id, first.name, second.name
        ));
    }
    Ok((raw.into_iter().map(|category| category.name).collect(), index))
}

/// An image, and room for its objects.
fn checked_image(raw: RawImage) -> Result<(AnnotatedImage, Vec<Instance>), String> {
    let RawImage { id, file_name, height, width } = raw;
    let below = |part| matches!(part, Component::Normal(_) | Component::CurDir);
    if file_name.is_empty() || !Path::new(&file_name).components().all(below) {
        return Err(format!(
            "image {id} has the file name {file_name:?}, which is no path below a folder"
        ));
    }
    let size = Size::new(height, width)
        .map_err(|_| format!("image {id} ({file_name}) has {height} rows and {width} columns"))?;
    Ok((AnnotatedImage { id, file_name, size, instances: Arc::new([]) }, Vec::new()))
}

fn checked_annotation(
    raw: RawAnnotation,
    categories: &HashMap<i64, usize>,
    size: Size,
) -> Result<Instance, String> {
    let Some(&category) = categories.get(&raw.category_id) else {
        return Err(format!("category {} is not in the file", raw.category_id));
    };
    let [_, _, width, height] = raw.bbox;
    if width < 0.0 || height < 0.0 {
        return Err(format!("its box is {width} wide and {height} high"));
    }
    let segmentation = raw.segmentation.map(|raw| checked_segmentation(raw, size)).transpose()?;
    Ok(Instance {
        id: raw.id,
        category,
        bbox: raw.bbox,
        area: raw.area.unwrap_or(width * height),
        crowd: raw.iscrowd != 0,
        segmentation: segmentation.flatten(),
    })
}

/// `None` for an empty list, which some datasets write for objects that have only a box.
fn checked_segmentation(raw: RawSegmentation, size: Size) -> Result<Option<Segmentation>, String> {
    let runs = match raw {
        RawSegmentation::Polygons(polygons) if polygons.is_empty() => return Ok(None),
        RawSegmentation::Polygons(polygons) => {
            return match polygons.iter().find(|polygon| polygon.len() % 2 == 1) {
                Some(odd) => Err(format!("one of its polygons has {} coordinates", odd.len())),
                None => Ok(Some(Segmentation::Polygons(polygons.into()))),
            };
        }
        RawSegmentation::Runs(runs) => runs,
    };
    if runs.size != [size.height, size.width] {
        let ([rows, columns], Size { height, width }) = (runs.size, size);
        return Err(format!("its mask is {rows} x {columns} pixels, its image {height} x {width}"));
    }
    let mask = match &runs.counts {
        Counts::Numbers(counts) => Rle::new(counts.iter().copied(), size),
        Counts::Text(text) => Rle::parse(text, size),
    };
    Ok(Some(Segmentation::Mask(Arc::new(mask.map_err(|e| e.to_string())?))))
}
