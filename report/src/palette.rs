//! The colours of charts.

use plotters::style::RGBColor;

pub(crate) const PAPER: RGBColor = RGBColor(255, 255, 255);
pub(crate) const INK: RGBColor = RGBColor(38, 43, 51);
pub(crate) const FAINT_INK: RGBColor = RGBColor(98, 106, 117);
pub(crate) const GRID: RGBColor = RGBColor(228, 231, 236);

/// Okabe and Ito's colours, which stay apart for every kind of colour vision.
pub(crate) const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
];

/// The colour of the `i`-th series, and how often the colours have been gone through before it.
pub(crate) fn colour(i: usize) -> (RGBColor, u32) {
    (COLOURS[i % COLOURS.len()], u32::min((i / COLOURS.len()) as u32, 3))
}

/// A colour as HTML and SVG write it.
pub(crate) fn hex(RGBColor(red, green, blue): RGBColor) -> String {
    format!("#{red:02X}{green:02X}{blue:02X}")
}
