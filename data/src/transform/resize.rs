//! Resizing a part of an image: bicubic and antialiased, equal to Pillow's.

use fast_image_resize::images::{CroppedImage, Image as Target, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};

use super::{CropBox, Size, crop};
use crate::error::{Error, Result};
use crate::image::{Image, Pixels};

/// Cuts `area` out and resizes it to `size`; pixels outside the area have no part in the result.
///
/// The filter is the bicubic one with a = -1/2, widened when shrinking: Pillow's `BICUBIC`, torchvision's with
/// antialiasing. Channels are resized one apart from the other, so a fourth one is not taken for alpha. Floats may
/// overshoot their range a little; bytes are clipped.
///
/// # Errors
/// [`Error::Crop`] if the area is empty or reaches out of the image, [`Error::Shape`] if the image's sizes are wrong.
pub fn crop_resize(image: &Image, area: CropBox, size: Size) -> Result<Image> {
    area.check(image)?;
    let kind = match (&image.pixels, image.channels) {
        (Pixels::U8(_), 1) => PixelType::U8,
        (Pixels::U8(_), 2) => PixelType::U8x2,
        (Pixels::U8(_), 3) => PixelType::U8x3,
        (Pixels::U8(_), 4) => PixelType::U8x4,
        (Pixels::F32(_), 1) => PixelType::F32,
        (Pixels::F32(_), 2) => PixelType::F32x2,
        (Pixels::F32(_), 3) => PixelType::F32x3,
        (Pixels::F32(_), 4) => PixelType::F32x4,
        _ => return plane_by_plane(image, area, size),
    };
    let len = size.height * size.width * image.channels;
    let pixels = match &image.pixels {
        Pixels::U8(samples) => {
            let mut out = vec![0; len];
            resize(samples, &mut out, kind, image, area, size)?;
            Pixels::U8(out)
        }
        Pixels::F32(samples) => {
            let mut out = vec![0_f32; len];
            resize(bytemuck::cast_slice(samples), bytemuck::cast_slice_mut(&mut out), kind, image, area, size)?;
            Pixels::F32(out)
        }
    };
    Image::new(size.width, size.height, image.channels, pixels)
}

fn resize(from: &[u8], to: &mut [u8], kind: PixelType, image: &Image, area: CropBox, size: Size) -> Result<()> {
    let u32 = |value: usize| u32::try_from(value).map_err(|e| refused(&e));
    let source = ImageRef::new(u32(image.width)?, u32(image.height)?, from, kind).map_err(|e| refused(&e))?;
    // A view, not the resizer's own crop option: that one lets the filter look over the crop's edge.
    let view =
        CroppedImage::new(&source, u32(area.left)?, u32(area.top)?, u32(area.width)?, u32(area.height)?);
    let view = view.map_err(|e| refused(&e))?;
    let mut target = Target::from_slice_u8(u32(size.width)?, u32(size.height)?, to, kind).map_err(|e| refused(&e))?;
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::CatmullRom)).use_alpha(false);
    Resizer::new().resize(&view, &mut target, &options).map_err(|e| refused(&e))
}

/// Any number of channels: each is resized as an image of its own.
fn plane_by_plane(image: &Image, area: CropBox, size: Size) -> Result<Image> {
    let part = crop(image, area)?;
    let planes = (0..image.channels).map(|channel| {
        let pixels = match &part.pixels {
            Pixels::U8(samples) => Pixels::U8(plane(samples, channel, image.channels)),
            Pixels::F32(samples) => Pixels::F32(plane(samples, channel, image.channels)),
        };
        let plane = Image::new(part.width, part.height, 1, pixels)?;
        Ok(crop_resize(&plane, CropBox::whole(&plane), size)?.pixels)
    });
    let planes = planes.collect::<Result<Vec<_>>>()?;
    let interleaved = (0..size.height * size.width).flat_map(|i| planes.iter().map(move |plane| (plane, i)));
    let pixels = match part.pixels {
        Pixels::U8(_) => Pixels::U8(
            interleaved.filter_map(|(plane, i)| if let Pixels::U8(v) = plane { Some(v[i]) } else { None }).collect(),
        ),
        Pixels::F32(_) => Pixels::F32(
            interleaved.filter_map(|(plane, i)| if let Pixels::F32(v) = plane { Some(v[i]) } else { None }).collect(),
        ),
    };
    Image::new(size.width, size.height, image.channels, pixels)
}

fn plane<T: Copy>(samples: &[T], channel: usize, channels: usize) -> Vec<T> {
    samples.iter().skip(channel).step_by(channels).copied().collect()
}

fn refused(e: &dyn std::fmt::Display) -> Error {
    Error::Setting { name: "resizing", found: e.to_string(), expected: "sizes that the resizer takes".into() }
}
