//! Objects drawn over the image that they were found in.

use image::{Rgb, RgbImage};
use plotters::style::RGBColor;

use crate::palette::COLOURS;
use crate::text::Font;

/// Lightly inked masks leave visible what is below them: so much of a pixel is ink.
const MASK_SHARE: f32 = 0.45;
/// How far colours that come again are darkened or lightened.
const SHADES: [f32; 3] = [0.0, -0.35, 0.35];

/// An object to draw.
#[derive(Debug, Clone, PartialEq)]
pub struct DrawnObject {
    /// What stands at the box.
    pub label: String,
    /// Equal numbers have equal colours.
    pub colour: usize,
    /// Upper left and lower right corner, in pixels.
    pub corners: [f32; 4],
    /// For each pixel of the image, row by row, whether it belongs to the object: not 0.
    pub mask: Option<Vec<u8>>,
}

/// Draws objects over an image, one after the other: mask, then box and label. What lies outside is cut off.
pub fn draw_objects(mut image: RgbImage, objects: &[DrawnObject]) -> RgbImage {
    for object in objects {
        let ink = ink(object.colour);
        if let Some(mask) = &object.mask {
            tint(&mut image, mask, ink);
        }
        frame(&mut image, object.corners, ink);
    }
    // Above all boxes, so that they can be read.
    for object in objects {
        label(&mut image, object);
    }
    image
}

/// One of 18 colours: the charts', as they are, darker and lighter.
fn ink(number: usize) -> Rgb<u8> {
    let RGBColor(red, green, blue) = COLOURS[number % COLOURS.len()];
    let shade = SHADES[number / COLOURS.len() % SHADES.len()];
    let target = if shade > 0.0 { 255.0 } else { 0.0 };
    Rgb([red, green, blue].map(|part| mix(part, target, shade.abs())))
}

fn mix(paper: u8, ink: f32, share: f32) -> u8 {
    (f32::from(paper) * (1.0 - share) + ink * share).round() as u8
}

fn tint(image: &mut RgbImage, mask: &[u8], Rgb(ink): Rgb<u8>) {
    for (pixel, _) in image.pixels_mut().zip(mask).filter(|(_, inside)| **inside != 0) {
        for (channel, ink) in pixel.0.iter_mut().zip(ink) {
            *channel = mix(*channel, f32::from(ink), MASK_SHARE);
        }
    }
}

/// A box's sides: the first and last pixels inside it, and those beside them.
fn frame(image: &mut RgbImage, corners: [f32; 4], ink: Rgb<u8>) {
    let (width, height) = image.dimensions();
    let [left, top, right, bottom] = sides(corners, (width, height));
    let mut put = |x: u32, y: u32| {
        if let Some(pixel) = image.get_pixel_mut_checked(x, y) {
            *pixel = ink;
        }
    };
    for inset in 0..2 {
        for x in left..right {
            put(x, top + inset);
            put(x, bottom.saturating_sub(1 + inset));
        }
        for y in top..bottom {
            put(left + inset, y);
            put(right.saturating_sub(1 + inset), y);
        }
    }
}

/// Whole pixels within an image, at least one a side.
fn sides([x1, y1, x2, y2]: [f32; 4], (width, height): (u32, u32)) -> [u32; 4] {
    // The casts cut off what is negative and turn NaN into 0.
    let within = |low: f32, high: f32, most: u32| {
        let low = (low.floor() as u32).min(most.saturating_sub(1));
        (low, (high.ceil() as u32).clamp(low + 1, most.max(low + 1)))
    };
    let ((left, right), (top, bottom)) = (within(x1, x2, width), within(y1, y2, height));
    [left, top, right, bottom]
}

/// White letters on the object's colour, above its box or, where there is no room, within it.
fn label(image: &mut RgbImage, object: &DrawnObject) {
    let (width, height) = image.dimensions();
    let [left, top, ..] = sides(object.corners, (width, height));
    let (font, text) = (Font::Heading, &object.label);
    let line = font.line_height();
    let columns = text.chars().count() as u32;
    let advance = 1000 / u32::max(font.columns(1000) as u32, 1);
    let left = left.min(width.saturating_sub(columns * advance + 4));
    let top = if top >= line { top - line } else { top };
    let ink = ink(object.colour);
    for y in top..(top + line).min(height) {
        for x in left..(left + columns * advance + 4).min(width) {
            image.put_pixel(x, y, ink);
        }
    }
    font.draw(image, (left + 2, top + 2), letters(ink), text);
}

/// Black or white, whichever stands out.
fn letters(Rgb([red, green, blue]): Rgb<u8>) -> Rgb<u8> {
    let light = 0.299 * f32::from(red) + 0.587 * f32::from(green) + 0.114 * f32::from(blue);
    Rgb([if light > 140.0 { 0 } else { 255 }; 3])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(corners: [f32; 4]) -> DrawnObject {
        DrawnObject { label: "cat 98%".to_owned(), colour: 1, corners, mask: None }
    }

    fn paper() -> RgbImage {
        RgbImage::from_pixel(100, 80, Rgb([200; 3]))
    }

    #[test]
    fn boxes_masks_and_labels_are_where_they_belong() {
        let mut cat = object([20.0, 40.0, 60.0, 70.0]);
        let mut mask = vec![0; 100 * 80];
        mask[50 * 100 + 30] = 1;
        cat.mask = Some(mask);
        let drawn = draw_objects(paper(), &[cat]);
        let at = |x, y| drawn.get_pixel(x, y).0;
        let vermilion = [213, 94, 0];
        for (x, y) in [(20, 40), (59, 40), (20, 69), (59, 69), (21, 55), (58, 55), (40, 68)] {
            assert_eq!(at(x, y), vermilion, "{x} {y}");
        }
        for (x, y) in [(19, 55), (60, 55), (40, 70), (40, 55), (31, 50)] {
            assert_eq!(at(x, y), [200; 3], "{x} {y}");
        }
        assert_eq!(at(30, 50), [206, 152, 110]);
        // The label's ground ends where the box begins.
        assert_eq!((at(21, 39), at(21, 19)), (vermilion, [200; 3]));
    }

    #[test]
    fn what_lies_outside_is_cut_off() {
        for corners in [
            [-50.0, -50.0, 500.0, 500.0],
            [99.0, 79.0, 99.5, 79.5],
            [200.0, 200.0, 300.0, 300.0],
            [f32::NAN, 5.0, f32::INFINITY, f32::NAN],
            [60.0, 60.0, 20.0, 20.0],
        ] {
            draw_objects(paper(), &[object(corners)]);
        }
        assert_eq!(draw_objects(RgbImage::new(1, 1), &[object([0.0; 4])]).dimensions(), (1, 1));
    }

    #[test]
    fn eighteen_categories_have_colours_of_their_own() {
        let all: std::collections::HashSet<[u8; 3]> = (0..18).map(|i| ink(i).0).collect();
        assert_eq!((all.len(), ink(18)), (18, ink(0)));
    }
}
