//! Decoding no more of a picture than a crop needs.

use ::image::ImageFormat;
use ::image::metadata::Orientation;

use super::jpeg::Jpeg;
use super::{DecodeOptions, orient, probe, turbo};
use crate::error::Result;
use crate::image::Image;
use crate::transform::{CropBox, Size};

/// The upright size of a picture of which a part can be decoded alone, or `None`.
pub(crate) fn partial_size(bytes: &[u8], options: &DecodeOptions) -> Option<Size> {
    if ::image::guess_format(bytes).ok()? != ImageFormat::Jpeg {
        return None;
    }
    let header = probe(bytes, options).ok()?;
    // A single pixel is refused where pictures are decoded whole.
    let size = Size::new(header.height, header.width).ok()?;
    (size != Size { height: 1, width: 1 }).then_some(size)
}

/// A part of an upright picture that holds `area`, which is to become `wanted`, and where in it `area` lies. `None` if
/// the picture has to be decoded whole.
pub(crate) fn decode_part(
    bytes: &[u8],
    options: &DecodeOptions,
    area: CropBox,
    wanted: Size,
) -> Result<Option<(Image, CropBox)>> {
    let jpeg = Jpeg::open(bytes, options)?;
    let stored = Size { height: jpeg.height, width: jpeg.width };
    let orientation = match options.apply_exif {
        true => jpeg.orientation,
        false => Orientation::NoTransforms,
    };
    let area = orient::stored_area(area, turned(stored, orientation), orientation);
    let at_least = options.scaled.then(|| turned(wanted, orientation));
    let Some(part) = jpeg.part(area, at_least)? else { return Ok(None) };
    let inside = turbo::scaled_area(area, part.eighths, part.whole);
    let inside =
        CropBox { top: inside.top - part.area.top, left: inside.left - part.area.left, ..inside };
    let held = Size { height: part.area.height, width: part.area.width };
    let image = part.bitmap.into_image(options.channels)?;
    let area = orient::upright_area(inside, held, orientation);
    Ok(Some((orient::upright(image, orientation), area)))
}

/// A size after turning, or before.
fn turned(size: Size, orientation: Orientation) -> Size {
    match orient::swaps_axes(orientation) {
        true => Size { height: size.width, width: size.height },
        false => size,
    }
}
