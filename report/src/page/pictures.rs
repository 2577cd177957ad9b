//! Pictures of a run over time, inside the page.

use std::io::Cursor;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use image::codecs::jpeg::JpegEncoder;
use image::imageops::{self, FilterType};
use image::{ImageFormat, ImageReader, Limits, RgbImage};
use maud::{Markup, html};

use super::numbers::whole;
use super::{Run, legend};

/// Pictures of a run that the page shows.
pub const MOST_PICTURES: usize = 8;
/// Bytes that all pictures of a page may take, as files.
const BUDGET: usize = 3_000_000;
/// Widths in pixels that a picture is reduced to, until it is small enough.
const WIDTHS: [u32; 5] = [1000, 760, 560, 420, 300];
const JPEG_QUALITY: u8 = 82;
/// Pixels a side of the largest picture that is looked at.
const LARGEST_SIDE: u32 = 20_000;
/// Bytes of the largest picture that is looked at, unpacked.
const LARGEST: u64 = 512 << 20;

/// A picture made during a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Picture {
    /// Steps done when it was made.
    pub step: u64,
    /// A PNG file.
    pub png: Vec<u8>,
}

/// Which of `steps` (in order) to show so that at most `most` are, evenly spaced in time: their
/// places in the list, the first and the last among them.
pub fn evenly_spaced(steps: &[u64], most: usize) -> Vec<usize> {
    let (Some(&first), Some(&last)) = (steps.first(), steps.last()) else { return Vec::new() };
    if steps.len() <= most {
        return (0..steps.len()).collect();
    }
    let nearest = |wanted: f64| {
        let distance = |i: &usize| (steps[*i] as f64 - wanted).abs();
        (0..steps.len()).min_by(|a, b| distance(a).total_cmp(&distance(b))).unwrap_or(0)
    };
    let span = last.saturating_sub(first) as f64 / most.saturating_sub(1).max(1) as f64;
    let mut chosen: Vec<usize> =
        (0..most).map(|i| nearest(first as f64 + i as f64 * span)).collect();
    chosen.dedup();
    chosen
}

/// A strip for each run that has pictures; none if no run has.
pub fn strips(runs: &[Run]) -> Option<Markup> {
    let chosen: Vec<Vec<&Picture>> = runs.iter().map(choose).collect();
    let count: usize = chosen.iter().map(Vec::len).sum();
    let budget = BUDGET.checked_div(count)?;
    Some(html! {
        @for ((i, run), pictures) in runs.iter().enumerate().zip(chosen) {
            @if !pictures.is_empty() {
                h3 { (legend::name(i, run)) }
                div class="pictures" { @for picture in pictures { (figure(picture, budget)) } }
            }
        }
    })
}

fn choose(run: &Run) -> Vec<&Picture> {
    let steps: Vec<u64> = run.pictures.iter().map(|picture| picture.step).collect();
    evenly_spaced(&steps, MOST_PICTURES).into_iter().map(|i| &run.pictures[i]).collect()
}

/// A picture that a click (or the space bar) shows as large as the window.
fn figure(picture: &Picture, budget: usize) -> Markup {
    let step = whole(picture.step);
    html! {
        figure {
            figcaption { "step " (step) }
            @match embed(&picture.png, budget) {
                Ok(picture) => label {
                    input type="checkbox" aria-label={ "Enlarge step " (step) };
                    img src=(picture.uri) width=(picture.width) height=(picture.height)
                        alt={ "Reconstructions after step " (step) };
                },
                Err(error) => p class="note" { "cannot be shown: " (error) },
            }
        }
    }
}

/// A picture as the page holds it.
struct Embedded {
    uri: String,
    width: u32,
    height: u32,
}

impl Embedded {
    fn new(kind: &str, bytes: &[u8], (width, height): (u32, u32)) -> Self {
        Self { uri: format!("data:image/{kind};base64,{}", STANDARD.encode(bytes)), width, height }
    }
}

/// The picture as it is if it fits into `budget` bytes, else as a JPEG that does.
fn embed(png: &[u8], budget: usize) -> image::ImageResult<Embedded> {
    let mut reader = ImageReader::with_format(Cursor::new(png), ImageFormat::Png);
    let mut limits = Limits::default();
    limits.max_image_width = Some(LARGEST_SIDE);
    limits.max_image_height = Some(LARGEST_SIDE);
    limits.max_alloc = Some(LARGEST);
    reader.limits(limits);
    let picture = reader.decode()?.into_rgb8();
    if png.len() <= budget {
        return Ok(Embedded::new("png", png, picture.dimensions()));
    }
    let mut best = reduce(&picture, WIDTHS[0])?;
    for width in &WIDTHS[1..] {
        if best.0.len() <= budget {
            break;
        }
        best = reduce(&picture, *width)?;
    }
    Ok(Embedded::new("jpeg", &best.0, best.1))
}

/// A JPEG of the picture, at most `width` pixels wide, and its size.
fn reduce(picture: &RgbImage, width: u32) -> image::ImageResult<(Vec<u8>, (u32, u32))> {
    let (full_width, full_height) = picture.dimensions();
    let smaller = (full_width > width).then(|| {
        let height = u64::from(full_height) * u64::from(width) / u64::from(full_width);
        imageops::resize(picture, width, u32::max(height as u32, 1), FilterType::Triangle)
    });
    let picture = smaller.as_ref().unwrap_or(picture);
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, JPEG_QUALITY).encode_image(picture)?;
    Ok((bytes, picture.dimensions()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode_png;

    /// A picture that PNG cannot make small.
    fn noise(width: u32, height: u32) -> Vec<u8> {
        let pixel = |x: u32, y: u32| {
            let bits = (x * 7919 + y * 104_729).wrapping_mul(2_654_435_761);
            image::Rgb([(bits >> 8) as u8, (bits >> 16) as u8, (bits >> 24) as u8])
        };
        encode_png(&RgbImage::from_fn(width, height, pixel)).unwrap()
    }

    #[test]
    fn pictures_are_chosen_evenly_with_both_ends() {
        assert_eq!(evenly_spaced(&[], 8), [0; 0]);
        assert_eq!(evenly_spaced(&[5, 6], 8), [0, 1]);
        let steps: Vec<u64> = (1..=100).collect();
        assert_eq!(evenly_spaced(&steps, 4), [0, 33, 66, 99]);
        // Most were made in the beginning; time counts, not their number.
        assert_eq!(evenly_spaced(&[0, 1, 2, 3, 50, 100], 3), [0, 4, 5]);
        assert_eq!(evenly_spaced(&[1, 2, 3], 1), [0]);
    }

    #[test]
    fn small_pictures_stay_as_they_are_and_large_ones_shrink_into_the_budget() {
        let png = noise(40, 20);
        let small = embed(&png, png.len()).unwrap();
        assert_eq!((small.width, small.height), (40, 20));
        assert_eq!(small.uri, format!("data:image/png;base64,{}", STANDARD.encode(&png)));

        let budget = 60_000;
        let large = embed(&noise(1200, 600), budget).unwrap();
        let bytes = large.uri.strip_prefix("data:image/jpeg;base64,").unwrap();
        let bytes = STANDARD.decode(bytes).unwrap();
        assert!(bytes.len() <= budget, "{}", bytes.len());
        let decoded = image::load_from_memory(&bytes).unwrap();
        assert_eq!((decoded.width(), decoded.height()), (large.width, large.height));
        assert_eq!(large.width, 2 * large.height);
    }

    #[test]
    fn what_is_no_picture_is_said_and_the_page_goes_on() {
        let mut cut = noise(40, 20);
        cut.truncate(200);
        for png in [Vec::new(), b"GIF89a".to_vec(), cut] {
            let shown = figure(&Picture { step: 7, png }, 1000).into_string();
            assert!(shown.contains("step 7") && shown.contains("cannot be shown"), "{shown}");
        }
    }
}
