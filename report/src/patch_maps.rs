//! What a model makes of each patch, beside the image.

use image::{Rgb, RgbImage};

use crate::error::check_length;
use crate::picture::{bands, check_rows, compose, fit};
use crate::{Error, ImageSpec, Result};

/// Shades from dark to light, even to the eye (five of matplotlib's `magma`).
const SHADES: [[f32; 3]; 5] = [
    [0.0, 0.0, 4.0],
    [81.0, 18.0, 124.0],
    [183.0, 55.0, 121.0],
    [252.0, 137.0, 97.0],
    [252.0, 253.0, 191.0],
];

/// One value a patch, row by row, in 0..1.
#[derive(Debug, Clone, PartialEq)]
pub enum PatchMap {
    /// Red, green and blue.
    Colours(Vec<[f32; 3]>),
    /// A shade, from dark to light.
    Shades(Vec<f32>),
}

/// An image and maps of its patches.
#[derive(Debug, Clone, PartialEq)]
pub struct MappedImage {
    /// The image as the model saw it, normalised: `[channels, height, width]`.
    pub image: Vec<f32>,
    /// The maps, one a heading.
    pub maps: Vec<PatchMap>,
}

/// Draws images below each other, each beside its maps, which are as large as the image.
///
/// The header has `title`, `notes` and which bands are shown; `headings` stand above the maps. What is outside of 0..1 is cut
/// off; what is not a number is dark. See [`reconstruction_grid`](crate::reconstruction_grid) for how images are shown.
///
/// # Errors
///
/// [`Error::Shape`] if there are no images, or more than 1024, if one has not as many maps as there are headings, or if sizes
/// do not fit together; [`Error::Length`] if an image or a map has the wrong length.
pub fn patch_maps(
    title: &str,
    notes: &[String],
    spec: &ImageSpec,
    headings: &[String],
    images: &[MappedImage],
) -> Result<RgbImage> {
    check_rows(images.len())?;
    let cells = images.iter().map(|image| row(spec, headings.len(), image));
    let cells = cells.collect::<Result<Vec<_>>>()?;
    let notes: Vec<String> = notes.iter().cloned().chain(bands(spec)).collect();
    let headings: Vec<&str> =
        std::iter::once("original").chain(headings.iter().map(String::as_str)).collect();
    Ok(compose(title, &notes, &headings, &cells))
}

fn row(spec: &ImageSpec, headings: usize, image: &MappedImage) -> Result<Vec<RgbImage>> {
    if image.maps.len() != headings {
        let found = image.maps.len();
        return Err(Error::Shape(format!("{found} maps of an image and {headings} headings")));
    }
    let p = spec.patch_size;
    if p == 0 || !spec.height.is_multiple_of(p) || !spec.width.is_multiple_of(p) {
        let (height, width) = (spec.height, spec.width);
        return Err(Error::Shape(format!("patches of {p} do not divide {height} x {width}")));
    }
    check_length("image", &image.image, spec.channels * spec.height * spec.width)?;
    let planar = crate::denormalize(&image.image, &spec.mean, &spec.std)?;
    let mut cells = vec![spec.cell(&planar)];
    for map in &image.maps {
        let colours: Vec<[f32; 3]> = match map {
            PatchMap::Colours(colours) => colours.clone(),
            PatchMap::Shades(shades) => shades.iter().map(|shade| colour(*shade)).collect(),
        };
        check_length("map", &colours, spec.height / p * (spec.width / p))?;
        cells.push(fit(RgbImage::from_fn(spec.width as u32, spec.height as u32, |x, y| {
            let patch = y as usize / p * (spec.width / p) + x as usize / p;
            // The cast cuts off what is outside of the range and turns NaN into 0.
            Rgb(colours[patch].map(|value| (value * 255.0).round() as u8))
        })));
    }
    Ok(cells)
}

/// The colour of a shade.
fn colour(shade: f32) -> [f32; 3] {
    let last = SHADES.len() - 1;
    let place = if shade > 0.0 { shade.min(1.0) * last as f32 } else { 0.0 };
    let below = (place as usize).min(last - 1);
    let share = place - below as f32;
    let mix = |i: usize| SHADES[below][i] * (1.0 - share) + SHADES[below + 1][i] * share;
    [0, 1, 2].map(|i| mix(i) / 255.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> (ImageSpec, MappedImage) {
        let spec = ImageSpec {
            channels: 1,
            height: 160,
            width: 320,
            patch_size: 80,
            pred_downsampling: 1,
            mean: vec![0.5],
            std: vec![0.25],
        };
        let colours = (0..8).map(|patch| [patch as f32 / 7.0, 0.0, 1.0]).collect();
        let shades = vec![f32::NAN, -1.0, 0.0, 0.5, 1.0, 2.0, f32::INFINITY, 0.25];
        let maps = vec![PatchMap::Colours(colours), PatchMap::Shades(shades)];
        (spec, MappedImage { image: vec![2.0; 160 * 320], maps })
    }

    fn headings() -> Vec<String> {
        ["a", "b"].map(str::to_owned).to_vec()
    }

    #[test]
    fn each_patch_has_its_colour() {
        let (spec, image) = example();
        let sheet = patch_maps("x", &["note".to_owned()], &spec, &headings(), &[image]).unwrap();
        // Margin 28, gap 14, three cells of 320 x 160.
        assert_eq!(sheet.width(), 2 * 28 + 3 * 320 + 2 * 14);
        let top = sheet.height() - 28 - 160;
        let pixel = |column: u32, x: u32, y: u32| sheet.get_pixel(28 + column * 334 + x, top + y).0;
        assert_eq!(pixel(0, 5, 5), [255; 3]);
        assert_eq!((pixel(1, 0, 0), pixel(1, 319, 159)), ([0, 0, 255], [255, 0, 255]));
        assert_eq!(pixel(1, 80, 79), [36, 0, 255]);
        // Not a number, below, zero: dark. Half, then one and above: light.
        let dark = [0, 80, 160].map(|x| pixel(2, x, 0));
        assert_eq!(dark, [[0, 0, 4]; 3]);
        assert_eq!(pixel(2, 240, 0), [183, 55, 121]);
        assert_eq!([0, 80, 160].map(|x| pixel(2, x, 80)), [[252, 253, 191]; 3]);
        assert_eq!(pixel(2, 240, 80), [81, 18, 124]);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let (spec, image) = example();
        let draw = |spec: &ImageSpec, image: &MappedImage| {
            patch_maps("x", &[], spec, &headings(), std::slice::from_ref(image))
        };
        assert!(draw(&spec, &image).is_ok());
        let fewer = MappedImage { maps: image.maps[..1].to_vec(), ..image.clone() };
        assert!(draw(&spec, &fewer).unwrap_err().to_string().contains("1 maps"));
        let short = PatchMap::Shades(vec![0.0; 7]);
        let short = MappedImage { maps: vec![short; 2], ..image.clone() };
        assert!(draw(&spec, &short).unwrap_err().to_string().contains("map"));
        assert!(draw(&spec, &MappedImage { image: vec![0.0; 3], ..image.clone() }).is_err());
        assert!(draw(&ImageSpec { patch_size: 70, ..spec.clone() }, &image).is_err());
        assert!(draw(&ImageSpec { patch_size: 0, ..spec.clone() }, &image).is_err());
        assert!(patch_maps("x", &[], &spec, &headings(), &[]).is_err());
    }
}
