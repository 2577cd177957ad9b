//! Turning a picture upright.

use ::image::metadata::Orientation;

use crate::image::{Image, Pixels};
#[cfg(feature = "libjpeg-turbo")]
use crate::transform::{CropBox, Size};

/// Applies the orientation a file notes.
pub(super) fn upright(image: Image, orientation: Orientation) -> Image {
    if orientation == Orientation::NoTransforms {
        return image;
    }
    let pixels = match &image.pixels {
        Pixels::U8(samples) => Pixels::U8(turned(samples, &image, orientation)),
        Pixels::F32(samples) => Pixels::F32(turned(samples, &image, orientation)),
    };
    let (width, height) = match swaps_axes(orientation) {
        true => (image.height, image.width),
        false => (image.width, image.height),
    };
    Image { width, height, channels: image.channels, pixels }
}

pub(super) fn swaps_axes(orientation: Orientation) -> bool {
    use Orientation::*;
    matches!(orientation, Rotate90 | Rotate270 | Rotate90FlipH | Rotate270FlipH)
}

/// Where a box of the upright picture, of `upright` rows and columns, lies in the stored one.
#[cfg(feature = "libjpeg-turbo")]
pub(super) fn stored_area(area: CropBox, upright: Size, orientation: Orientation) -> CropBox {
    use Orientation::*;
    let back = match orientation {
        Rotate90 => Rotate270,
        Rotate270 => Rotate90,
        same => same,
    };
    upright_area(area, upright, back)
}

/// Where a box of the stored picture, of `stored` rows and columns, lies in the upright one.
#[cfg(feature = "libjpeg-turbo")]
pub(super) fn upright_area(area: CropBox, stored: Size, orientation: Orientation) -> CropBox {
    use Orientation::*;
    let CropBox { top, left, height, width } = area;
    let (bottom, right) = (stored.height - top - height, stored.width - left - width);
    let (top, left) = match orientation {
        NoTransforms => (top, left),
        FlipHorizontal => (top, right),
        Rotate180 => (bottom, right),
        FlipVertical => (bottom, left),
        Rotate90FlipH => (left, top),
        Rotate90 => (left, bottom),
        Rotate270FlipH => (right, bottom),
        Rotate270 => (right, top),
    };
    let (height, width) = if swaps_axes(orientation) { (width, height) } else { (height, width) };
    CropBox { top, left, height, width }
}

/// The samples of the upright picture, gathered pixel by pixel from `samples`, `[height, width, channels]`.
fn turned<T: Copy>(samples: &[T], image: &Image, orientation: Orientation) -> Vec<T> {
    let (width, height, channels) = (image.width, image.height, image.channels);
    let (rows, columns) = if swaps_axes(orientation) { (width, height) } else { (height, width) };
    let mut out = Vec::with_capacity(samples.len());
    for row in 0..rows {
        for column in 0..columns {
            let (y, x) = match orientation {
                Orientation::NoTransforms => (row, column),
                Orientation::FlipHorizontal => (row, width - 1 - column),
                Orientation::Rotate180 => (height - 1 - row, width - 1 - column),
                Orientation::FlipVertical => (height - 1 - row, column),
                Orientation::Rotate90FlipH => (column, row),
                Orientation::Rotate90 => (height - 1 - column, row),
                Orientation::Rotate270FlipH => (height - 1 - column, width - 1 - row),
                Orientation::Rotate270 => (column, width - 1 - row),
            };
            let start = (y * width + x) * channels;
            out.extend_from_slice(&samples[start..start + channels]);
        }
    }
    out
}
