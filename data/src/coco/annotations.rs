//! The files of annotations of COCO, and of all datasets in its format.

use std::collections::HashSet;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;

use super::segmentation::CocoSegmentation;
use crate::error::{Error, Result};
use crate::instances::Instance;
use crate::size::Size;

/// What a file of annotations says, checked.
#[derive(Clone, Debug)]
pub struct CocoAnnotations {
    /// In the order of their numbers.
    pub categories: Vec<CocoCategory>,
    /// In the order of their numbers.
    pub images: Vec<CocoImage>,
    /// Whether the file has annotations at all; a list of images has none.
    pub annotated: bool,
}

/// A class of objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CocoCategory {
    /// Its number.
    pub id: i64,
    /// Its name; the number, if the file has none.
    pub name: String,
}

/// An image and its objects.
#[derive(Clone, Debug)]
pub struct CocoImage {
    /// Its number.
    pub id: i64,
    /// A path below the folder of images, if the file says it.
    pub file_name: Option<String>,
    /// Rows and columns, if the file says them.
    pub size: Option<Size>,
    /// In the order of the file.
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
    file_name: Option<String>,
    height: Option<usize>,
    width: Option<usize>,
}

#[derive(Deserialize)]
struct RawCategory {
    id: i64,
    name: Option<String>,
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
    #[serde(default, deserialize_with = "CocoSegmentation::owned")]
    segmentation: Option<CocoSegmentation<'static>>,
}

impl CocoAnnotations {
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
        let categories = checked_categories(raw.categories)?;
        let mut images: Vec<_> =
            raw.images.into_iter().map(checked_image).collect::<Result<_, _>>()?;
        images.sort_by_key(|(image, _)| image.id);
        let duplicate = images.windows(2).find(|pair| pair[0].0.id == pair[1].0.id);
        if let Some([(first, _), (second, _)]) = duplicate {
            return Err(format!(
                "two images have the id {}: {} and {}",
                first.id,
                called(first),
                called(second)
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
            .map(|(image, instances)| CocoImage { instances: instances.into(), ..image });
        Ok(Self { categories, images: images.collect(), annotated })
    }
}

pub(super) fn wrong(path: &Path, reason: String) -> Error {
    Error::Annotations { path: path.into(), reason }
}

/// What an image is called in a message.
fn called(image: &CocoImage) -> &str {
    image.file_name.as_deref().unwrap_or("one without a file name")
}

/// In the order of their numbers.
fn checked_categories(raw: Vec<RawCategory>) -> Result<Vec<CocoCategory>, String> {
    let named = raw.into_iter().map(|RawCategory { id, name }| {
        let name = name.unwrap_or_else(|| id.to_string());
        CocoCategory { id, name }
    });
    let mut categories: Vec<_> = named.collect();
    categories.sort_by_key(|category| category.id);
    match categories.windows(2).find(|pair| pair[0].id == pair[1].id) {
        Some([first, second]) => {
            let (id, first, second) = (first.id, &first.name, &second.name);
            Err(format!("two categories have the id {id}: {first} and {second}"))
        }
        _ => Ok(categories),
    }
}

/// An image, and room for its objects.
fn checked_image(raw: RawImage) -> Result<(CocoImage, Vec<Instance>), String> {
    let RawImage { id, file_name, height, width } = raw;
    let size = match (height, width) {
        (Some(height), Some(width)) => Some(Size::new(height, width).map_err(|_| {
            let name = file_name.iter().map(|name| format!(" ({name})")).collect::<String>();
            format!("image {id}{name} has {height} rows and {width} columns")
        })?),
        _ => None,
    };
    Ok((CocoImage { id, file_name, size, instances: Arc::new([]) }, Vec::new()))
}

fn checked_annotation(
    raw: RawAnnotation,
    categories: &[CocoCategory],
    size: Option<Size>,
) -> Result<Instance, String> {
    let Ok(category) = categories.binary_search_by_key(&raw.category_id, |category| category.id)
    else {
        return Err(format!("category {} is not in the file", raw.category_id));
    };
    let [_, _, width, height] = raw.bbox;
    if width < 0.0 || height < 0.0 {
        return Err(format!("its box is {width} wide and {height} high"));
    }
    let segmentation = raw.segmentation.map(|outline| outline.checked(size)).transpose();
    Ok(Instance {
        id: raw.id,
        category,
        bbox: raw.bbox,
        area: raw.area.unwrap_or(width * height),
        crowd: raw.iscrowd != 0,
        segmentation: segmentation.map_err(|e| e.to_string())?.flatten(),
    })
}
