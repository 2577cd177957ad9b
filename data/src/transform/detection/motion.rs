//! What is done to images and objects alike.

use std::sync::Arc;

use super::clip::clip;
use super::mask;
use crate::error::{Error, Result};
use crate::image::{Image, Pixels};
use crate::instances::{Instance, Segmentation};
use crate::transform::flip::mirror;
use crate::transform::{CropBox, Filter, Size, crop, crop_resize_with};

/// Something done to an image and to the objects in it.
///
/// Images are resized as Pillow's `BILINEAR` does, masks as its `NEAREST`.
#[derive(Clone, Debug, PartialEq)]
pub enum Motion {
    /// Left and right change sides.
    Flip,
    /// The image gets another size.
    Resize(Size),
    /// A window is cut out. Where it reaches out of the image to the right or below, the result is smaller.
    ///
    /// Polygons are cut along the window's sides. One that crosses itself is filled where it encloses a place an odd
    /// number of times.
    Crop {
        /// First row.
        top: usize,
        /// First column.
        left: usize,
        /// Rows and columns.
        size: Size,
    },
    /// The image is filled up to the right and below; it stays as it is where it is larger.
    Pad {
        /// Rows and columns to have at least.
        size: Size,
        /// The value of new samples, of 255.
        value: u8,
    },
}

impl Motion {
    /// The size that an image of `from` gets.
    ///
    /// # Errors
    /// [`Error::Crop`] for a window that begins outside the image.
    pub fn size(&self, from: Size) -> Result<Size> {
        match *self {
            Self::Flip => Ok(from),
            Self::Resize(size) => Ok(size),
            Self::Crop { top, left, size } if top < from.height && left < from.width => {
                let height = size.height.min(from.height - top);
                Size::new(height, size.width.min(from.width - left))
            }
            Self::Crop { top, left, size } => Err(Error::Crop {
                top,
                left,
                crop_height: size.height,
                crop_width: size.width,
                height: from.height,
                width: from.width,
            }),
            Self::Pad { size, .. } => {
                Ok(Size { height: size.height.max(from.height), width: size.width.max(from.width) })
            }
        }
    }

    /// The image after the motion.
    ///
    /// # Errors
    /// See [`size`](Self::size), and [`Error::Shape`] for an image whose sizes are wrong.
    pub fn image(&self, mut image: Image) -> Result<Image> {
        image.check()?;
        let size = self.size(Size { height: image.height, width: image.width })?;
        match *self {
            Self::Flip => {
                mirror(&mut image);
                Ok(image)
            }
            Self::Resize(_) if (image.height, image.width) == (size.height, size.width) => {
                Ok(image)
            }
            Self::Resize(_) => {
                crop_resize_with(&image, CropBox::whole(&image), size, Filter::Bilinear)
            }
            Self::Crop { top, left, .. } => {
                crop(&image, CropBox { top, left, height: size.height, width: size.width })
            }
            Self::Pad { value, .. } => pad(&image, size, value),
        }
    }

    /// An object of an image of size `from` after the motion.
    ///
    /// # Errors
    /// See [`size`](Self::size), and [`Error::Mask`] for a mask of another size.
    pub(super) fn instance(&self, one: &Instance, from: Size) -> Result<Instance> {
        let segmentation = match &one.segmentation {
            Some(Segmentation::Polygons(polygons)) => {
                let moved = polygons.iter().flat_map(|polygon| self.polygon(polygon, from));
                Some(Segmentation::Polygons(moved.collect()))
            }
            Some(Segmentation::Mask(rle)) => {
                rle.check_size(from)?;
                Some(Segmentation::Mask(Arc::new(mask::moved(self, rle)?)))
            }
            None => None,
        };
        let [x, y, width, height] = one.bbox;
        let corners = [self.point([x, y], from), self.point([x + width, y + height], from)];
        let low = [0, 1].map(|axis| corners[0][axis].min(corners[1][axis]));
        let high = [0, 1].map(|axis| corners[0][axis].max(corners[1][axis]));
        let bbox = [low[0], low[1], high[0] - low[0], high[1] - low[1]];
        let area = match self {
            Self::Resize(to) => {
                one.area
                    * (to.width as f64 / from.width as f64)
                    * (to.height as f64 / from.height as f64)
            }
            _ => one.area,
        };
        Ok(Instance { bbox, area, segmentation, ..one.clone() })
    }

    fn point(&self, [x, y]: [f64; 2], from: Size) -> [f64; 2] {
        match self {
            Self::Flip => [from.width as f64 - x, y],
            Self::Resize(to) => [
                x * (to.width as f64 / from.width as f64),
                y * (to.height as f64 / from.height as f64),
            ],
            Self::Crop { top, left, .. } => [x - *left as f64, y - *top as f64],
            Self::Pad { .. } => [x, y],
        }
    }

    /// What becomes of a polygon: cropping may leave none or several.
    fn polygon(&self, xy: &[f64], from: Size) -> Vec<Vec<f64>> {
        let points = xy.chunks_exact(2).map(|xy| self.point([xy[0], xy[1]], from));
        match self {
            Self::Crop { size, .. } => {
                let window = [size.width as f64, size.height as f64];
                clip(points.collect(), window).into_iter().map(|ring| ring.concat()).collect()
            }
            _ => vec![points.flatten().collect()],
        }
    }
}

fn pad(image: &Image, size: Size, value: u8) -> Result<Image> {
    let pixels = match &image.pixels {
        Pixels::U8(samples) => Pixels::U8(padded(samples, image, size, value)),
        Pixels::F32(samples) => Pixels::F32(padded(samples, image, size, f32::from(value) / 255.0)),
    };
    Image::new(size.width, size.height, image.channels, pixels)
}

fn padded<T: Copy>(samples: &[T], image: &Image, size: Size, value: T) -> Vec<T> {
    let (row, line) = (image.width * image.channels, size.width * image.channels);
    let mut out = vec![value; line * size.height];
    for (to, from) in out.chunks_exact_mut(line).zip(samples.chunks_exact(row)) {
        to[..row].copy_from_slice(from);
    }
    out
}
