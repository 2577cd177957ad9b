//! Text on a raster image, in a bitmap font that the program carries along.

use image::{Rgb, RgbImage};
use noto_sans_mono_bitmap::{
    FontWeight, RasterHeight, RasterizedChar, get_raster, get_raster_width,
};

/// What stands in for characters that the font lacks.
const UNKNOWN: char = '?';

/// A size and weight of the font.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Font {
    /// Large and bold.
    Title,
    /// Small.
    Body,
    /// Small and bold.
    Heading,
}

impl Font {
    fn weight(self) -> FontWeight {
        match self {
            Self::Title | Self::Heading => FontWeight::Bold,
            Self::Body => FontWeight::Regular,
        }
    }

    fn raster(self) -> RasterHeight {
        match self {
            Self::Title => RasterHeight::Size24,
            Self::Body | Self::Heading => RasterHeight::Size16,
        }
    }

    /// Height of a line in pixels.
    pub(crate) fn line_height(self) -> u32 {
        self.raster().val() as u32 + 4
    }

    /// Number of characters that fit into `width` pixels; at least one.
    pub(crate) fn columns(self, width: u32) -> usize {
        usize::max(width as usize / get_raster_width(self.weight(), self.raster()), 1)
    }

    fn glyph(self, character: char) -> Option<RasterizedChar> {
        let get = |character| get_raster(character, self.weight(), self.raster());
        get(character).or_else(|| get(UNKNOWN))
    }

    /// Draws one line of text with its upper left corner at `(x, y)`; what lies outside of the
    /// picture is cut off.
    pub(crate) fn draw(self, picture: &mut RgbImage, (x, y): (u32, u32), ink: Rgb<u8>, text: &str) {
        let mut left = x;
        for glyph in text.chars().filter_map(|character| self.glyph(character)) {
            for (row, y) in glyph.rows().zip(y..) {
                for (&coverage, x) in row.iter().zip(left..) {
                    if let Some(pixel) = picture.get_pixel_mut_checked(x, y) {
                        *pixel = mix(*pixel, ink, coverage);
                    }
                }
            }
            left = left.saturating_add(glyph.width() as u32);
        }
    }
}

/// `coverage` out of 255 of `ink`, the rest of `paper`.
fn mix(Rgb(paper): Rgb<u8>, Rgb(ink): Rgb<u8>, coverage: u8) -> Rgb<u8> {
    let part = u32::from(coverage);
    let channel = |i: usize| {
        let sum = u32::from(ink[i]) * part + u32::from(paper[i]) * (255 - part);
        (sum / 255) as u8
    };
    Rgb([channel(0), channel(1), channel(2)])
}

/// Breaks `text` into lines of at most `columns` characters, between words where it can.
pub(crate) fn wrap(text: &str, columns: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        let letters: Vec<char> = word.chars().collect();
        for (i, part) in letters.chunks(columns.max(1)).enumerate() {
            match lines.last_mut() {
                Some(line) if i == 0 && line.chars().count() + 1 + part.len() <= columns => {
                    line.push(' ');
                    line.extend(part);
                }
                _ => lines.push(part.iter().collect()),
            }
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_breaks_between_words_and_inside_long_ones() {
        assert_eq!(wrap("one two  three", 7), ["one two", "three"]);
        assert_eq!(wrap("a /very/long/path b", 6), ["a", "/very/", "long/p", "ath b"]);
        assert!(wrap(" ", 5).is_empty());
        assert_eq!(wrap("ab", 0), ["a", "b"]);
    }

    #[test]
    fn ink_lands_where_the_text_is() {
        let paper = Rgb([255; 3]);
        let mut picture = RgbImage::from_pixel(60, 30, paper);
        Font::Body.draw(&mut picture, (20, 10), Rgb([0; 3]), "A\u{e9}\u{4e00}");
        let inked: Vec<_> = picture.enumerate_pixels().filter(|(_, _, p)| **p != paper).collect();
        assert!(!inked.is_empty());
        assert!(inked.iter().all(|(x, y, _)| *x >= 20 && *y >= 10));

        // A character without a glyph is a question mark, not a hole.
        let drawn = |text| {
            let mut picture = RgbImage::from_pixel(20, 20, paper);
            Font::Title.draw(&mut picture, (0, 0), Rgb([0; 3]), text);
            picture
        };
        assert_eq!(drawn("\u{4e00}"), drawn("?"));
        assert_ne!(drawn("?"), drawn(" "));
    }

    #[test]
    fn text_beyond_the_edge_is_cut_off() {
        let mut picture = RgbImage::new(10, 10);
        Font::Heading.draw(&mut picture, (5, 5), Rgb([255; 3]), "long text");
        Font::Heading.draw(&mut picture, (50, 50), Rgb([255; 3]), "text");
        assert!(picture.pixels().any(|p| p.0 != [0; 3]));
    }
}
