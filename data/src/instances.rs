//! Objects of an image, each with its box and its outline.

use std::sync::Arc;

use crate::error::Result;
use crate::rle::Rle;
use crate::size::Size;

/// The objects of one image.
#[derive(Clone, Debug, PartialEq)]
pub struct Instances {
    /// Rows and columns of the image that all coordinates are of.
    pub size: Size,
    /// The objects, in the order of the file that names them; maybe none. Shared, so that a copy costs nothing.
    pub list: Arc<[Instance]>,
}

/// One object.
#[derive(Clone, Debug, PartialEq)]
pub struct Instance {
    /// The number of its annotation.
    pub id: i64,
    /// The index of its class, counted from 0 in the order of the categories' numbers.
    pub category: usize,
    /// Its box: x and y of the upper left corner, width and height, in pixels.
    pub bbox: [f64; 4],
    /// Its area in pixels, as the file has it: what decides whether COCO's evaluation counts it as small.
    pub area: f64,
    /// Whether it is a group of objects that are not told apart.
    pub crowd: bool,
    /// Its outline, if it is known.
    pub segmentation: Option<Segmentation>,
}

/// The outline of an object.
#[derive(Clone, Debug, PartialEq)]
pub enum Segmentation {
    /// Polygons that belong to the object together, each as x, y, x, y and so on, in pixels.
    Polygons(Arc<[Vec<f64>]>),
    /// A mask of runs.
    Mask(Arc<Rle>),
}

impl Segmentation {
    /// The outline as a mask of an image of `size`; see [`Rle::from_polygons`].
    ///
    /// # Errors
    /// [`Error::Mask`](crate::Error::Mask) for polygons that cannot be drawn, or a mask of another size.
    pub fn to_mask(&self, size: Size) -> Result<Arc<Rle>> {
        match self {
            Self::Polygons(polygons) => Ok(Arc::new(Rle::from_polygons(polygons, size)?)),
            Self::Mask(mask) => {
                mask.check_size(size)?;
                Ok(mask.clone())
            }
        }
    }
}
