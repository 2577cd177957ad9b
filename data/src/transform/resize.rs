//! Resizing a part of an image: antialiased, equal to Pillow's.

use bytemuck::Pod;
use fast_image_resize::images::{CroppedImage, Image as Target, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};

use super::{CropBox, Size};
use crate::error::{Error, Result};
use crate::image::{Image, Pixels};

/// The resizer's names for one to four interleaved channels.
const U8: [PixelType; 4] = [PixelType::U8, PixelType::U8x2, PixelType::U8x3, PixelType::U8x4];
const F32: [PixelType; 4] = [PixelType::F32, PixelType::F32x2, PixelType::F32x3, PixelType::F32x4];

/// How an image is resized. All filters are widened when shrinking, as Pillow's are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    /// Pillow's `BILINEAR`.
    Bilinear,
    /// Pillow's `BICUBIC`, with a = -1/2.
    Bicubic,
}

/// Cuts `area` out and resizes it to `size`; pixels outside the area have no part in the result.
///
/// The filter is [`Filter::Bicubic`], torchvision's with antialiasing. Channels are resized one apart from the other, so a fourth one is not taken for alpha. Floats may
/// overshoot their range a little; bytes are clipped.
///
/// # Errors
/// [`Error::Crop`] if the area is empty or reaches out of the image, [`Error::Shape`] if the image's sizes are wrong.
pub fn crop_resize(image: &Image, area: CropBox, size: Size) -> Result<Image> {
    crop_resize_with(image, area, size, Filter::Bicubic)
}

/// Cuts `area` out and resizes it to `size` with a filter; see [`crop_resize`].
///
/// # Errors
/// See [`crop_resize`].
pub fn crop_resize_with(image: &Image, area: CropBox, size: Size, filter: Filter) -> Result<Image> {
    area.check(image)?;
    let pixels = match &image.pixels {
        Pixels::U8(samples) => Pixels::U8(resized(samples, U8, image, area, (size, filter))?),
        Pixels::F32(samples) => Pixels::F32(resized(samples, F32, image, area, (size, filter))?),
    };
    Image::new(size.width, size.height, image.channels, pixels)
}

/// The samples of the result; more than four channels are resized one by one.
fn resized<T: Pod>(
    samples: &[T],
    kinds: [PixelType; 4],
    image: &Image,
    area: CropBox,
    to: (Size, Filter),
) -> Result<Vec<T>> {
    let size = to.0;
    let (pixels, channels) = (size.height * size.width, image.channels);
    let mut out = vec![T::zeroed(); pixels * channels];
    if let Some(&kind) = kinds.get(channels - 1) {
        resize(samples, &mut out, kind, image, area, to)?;
        return Ok(out);
    }
    let mut plane = vec![T::zeroed(); pixels];
    for channel in 0..channels {
        let whole: Vec<T> = samples.iter().skip(channel).step_by(channels).copied().collect();
        resize(&whole, &mut plane, kinds[0], image, area, to)?;
        for (sample, &value) in out.iter_mut().skip(channel).step_by(channels).zip(&plane) {
            *sample = value;
        }
    }
    Ok(out)
}

/// Resizes `area` of `from`, of the height and width of `image`, into `to`, of a size and by a filter.
fn resize<T: Pod>(
    from: &[T],
    to: &mut [T],
    kind: PixelType,
    image: &Image,
    area: CropBox,
    (size, filter): (Size, Filter),
) -> Result<()> {
    let u32 = |value: usize| u32::try_from(value).map_err(|e| refused(&e));
    let (from, to) = (bytemuck::cast_slice(from), bytemuck::cast_slice_mut(to));
    let source = ImageRef::new(u32(image.width)?, u32(image.height)?, from, kind);
    let source = source.map_err(|e| refused(&e))?;
    // A view, not the resizer's own crop option: that one lets the filter look over the crop's edge.
    let (left, top) = (u32(area.left)?, u32(area.top)?);
    let view = CroppedImage::new(&source, left, top, u32(area.width)?, u32(area.height)?);
    let view = view.map_err(|e| refused(&e))?;
    let target = Target::from_slice_u8(u32(size.width)?, u32(size.height)?, to, kind);
    let mut target = target.map_err(|e| refused(&e))?;
    let filter = match filter {
        Filter::Bilinear => FilterType::Bilinear,
        Filter::Bicubic => FilterType::CatmullRom,
    };
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(filter)).use_alpha(false);
    Resizer::new().resize(&view, &mut target, &options).map_err(|e| refused(&e))
}

fn refused(e: &dyn std::fmt::Display) -> Error {
    Error::Setting {
        name: "resizing",
        found: e.to_string(),
        expected: "sizes that the resizer takes".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Purpose, stream};
    use rand::RngCore;

    const AREA: CropBox = CropBox { top: 3, left: 5, height: 9, width: 14 };

    fn noise(channels: usize) -> Image {
        let mut samples = vec![0; 20 * 30 * channels];
        stream(0, 0, 0, Purpose::Synthetic).fill_bytes(&mut samples);
        Image::new(30, 20, channels, Pixels::U8(samples)).unwrap()
    }

    fn bytes(image: &Image) -> &[u8] {
        match &image.pixels {
            Pixels::U8(samples) => samples,
            Pixels::F32(_) => panic!("bytes expected"),
        }
    }

    fn as_floats(image: &Image) -> Image {
        let samples = bytes(image).iter().map(|&v| f32::from(v) / 255.0).collect();
        Image { pixels: Pixels::F32(samples), ..image.clone() }
    }

    /// The fourth channel is no alpha, and the fifth is not forgotten.
    #[test]
    fn each_channel_is_resized_as_if_it_were_alone() {
        let size = Size::new(7, 11).unwrap();
        for channels in 1..=6 {
            let image = noise(channels);
            let all = crop_resize(&image, AREA, size).unwrap();
            for channel in 0..channels {
                let of = |image: &Image| -> Vec<u8> {
                    bytes(image).iter().skip(channel).step_by(channels).copied().collect()
                };
                let alone = Image::new(30, 20, 1, Pixels::U8(of(&image))).unwrap();
                let alone = crop_resize(&alone, AREA, size).unwrap();
                assert_eq!(bytes(&alone), of(&all), "channel {channel} of {channels}");
            }
        }
    }

    /// Away from black and white, where bytes are clipped between the two passes.
    #[test]
    fn floats_are_resized_as_bytes_are() {
        let size = Size::new(16, 6).unwrap();
        for channels in 1..=6 {
            let mut image = noise(channels);
            let Pixels::U8(samples) = &mut image.pixels else { panic!("bytes expected") };
            samples.iter_mut().for_each(|v| *v = *v / 2 + 64);
            let expected = crop_resize(&image, AREA, size).unwrap();
            let found = crop_resize(&as_floats(&image), AREA, size).unwrap();
            let Pixels::F32(found) = &found.pixels else { panic!("floats expected") };
            for (&found, &expected) in found.iter().zip(bytes(&expected)) {
                let found = found * 255.0;
                assert!((found - f32::from(expected)).abs() < 2.0, "{found} for {expected}");
            }
        }
    }

    #[test]
    fn what_lies_outside_the_crop_does_not_matter() {
        let image = noise(3);
        let mut other = image.clone();
        let Pixels::U8(samples) = &mut other.pixels else { panic!("bytes expected") };
        for (i, sample) in samples.iter_mut().enumerate() {
            let (row, column) = (i / 3 / 30, i / 3 % 30);
            let inside = (3..12).contains(&row) && (5..19).contains(&column);
            *sample = if inside { *sample } else { 255 - *sample };
        }
        for size in [Size::square(4).unwrap(), Size::square(40).unwrap()] {
            assert_eq!(
                crop_resize(&image, AREA, size).unwrap(),
                crop_resize(&other, AREA, size).unwrap()
            );
        }
    }

    #[test]
    fn a_box_that_reaches_out_is_refused() {
        let wrong = CropBox { left: 20, ..AREA };
        let message =
            crop_resize(&noise(3), wrong, Size::square(4).unwrap()).unwrap_err().to_string();
        assert!(message.contains("9 x 14 pixels at row 3, column 20"), "{message}");
    }
}
