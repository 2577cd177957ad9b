//! Curves over training steps as one self-contained SVG.

use std::fmt::Display;
use std::ops::Range;

use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::thin::{Point, drawable, pieces, smooth, thin};
use crate::{Error, Result};

/// Size of the chart in CSS pixels.
const SIZE: (u32, u32) = (860, 480);
/// Drawing units a CSS pixel. Coordinates are whole numbers: finer ones keep slopes smooth.
const SCALE: u32 = 4;
/// Beyond this many points a line is drawn faintly with its moving average over it.
const SMOOTH_BEYOND: usize = 60;
/// The moving average spans this share of the curve.
const SMOOTH_SHARE: f64 = 1.0 / 40.0;
/// Stretches a curve may be thinned to, shared by the series of a chart.
const BUCKETS: usize = 800;
/// Beyond this many points a series loses its dots.
const MOST_DOTS: usize = 200;

const FONT: &str = "Helvetica, Arial, sans-serif";
const INK: RGBColor = RGBColor(38, 43, 51);
const FAINT_INK: RGBColor = RGBColor(98, 106, 117);
const GRID: RGBColor = RGBColor(228, 231, 236);
/// Okabe and Ito's colours, which stay apart for every kind of colour vision.
const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
];

/// How a [`Series`] is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// A line; when the points are many, a faint one with its moving average over it.
    /// For something measured at every step.
    Line,
    /// A line with a dot at each point. For something measured now and then.
    LineAndDots,
}

/// A curve: a name for the legend and points (x, y) in order of x.
///
/// Points with a coordinate that is not finite are gaps.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// Name in the legend.
    pub name: String,
    /// Points (x, y), in order of x.
    pub points: Vec<(f64, f64)>,
    /// How the points are drawn.
    pub mark: Mark,
}

impl Series {
    /// A series that is drawn as a [line](Mark::Line), such as the training loss.
    pub fn line(name: impl Into<String>, points: Vec<(f64, f64)>) -> Self {
        Self { name: name.into(), points, mark: Mark::Line }
    }

    /// A series drawn with [dots](Mark::LineAndDots), such as the validation loss.
    pub fn dots(name: impl Into<String>, points: Vec<(f64, f64)>) -> Self {
        Self { name: name.into(), points, mark: Mark::LineAndDots }
    }

    fn is_smoothed(&self) -> bool {
        self.mark == Mark::Line && self.points.len() > SMOOTH_BEYOND
    }

    fn has_dots(&self) -> bool {
        self.mark == Mark::LineAndDots && self.points.len() <= MOST_DOTS
    }
}

/// Draws `series` over common axes and returns the text of an SVG file, below 200 KB however
/// long the series are (for up to a dozen of them).
///
/// There is a legend when there is more than one series. Without any finite point the chart is
/// empty and says so: a run that has just begun is not an error.
///
/// # Errors
///
/// [`Error::Draw`] if the drawing library fails.
pub fn loss_svg(title: &str, x_label: &str, y_label: &str, series: &[Series]) -> Result<String> {
    let mut svg = String::new();
    draw(&mut svg, title, x_label, y_label, series)?;
    Ok(finish(svg))
}

type Canvas<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;
type Chart<'a> = ChartContext<'a, SVGBackend<'a>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

fn draw(
    svg: &mut String,
    title: &str,
    x_label: &str,
    y_label: &str,
    series: &[Series],
) -> Result<()> {
    let canvas = SVGBackend::with_string(svg, (px(SIZE.0), px(SIZE.1))).into_drawing_area();
    canvas.fill(&WHITE).map_err(drawing)?;
    let bold = TextStyle::from((FONT, font_size(17), FontStyle::Bold)).color(&INK);
    canvas.draw_text(&printable(title), &bold, at(24, 18)).map_err(drawing)?;

    let points = || series.iter().flat_map(|series| &series.points).filter(|p| drawable(p));
    let x_range = padded(points().map(|p| p.0), 0.0, 1.0);
    let y_range = padded(points().map(|p| p.1), 0.05, 0.0);
    let legend = if series.len() > 1 { legend_positions(series) } else { Vec::new() };
    let mut chart = ChartBuilder::on(&canvas)
        .margin_top(px(legend.last().map_or(50, |(_, y)| y + 22)))
        .margin_right(px(34))
        .margin_bottom(px(10))
        .margin_left(px(10))
        .x_label_area_size(px(44))
        .y_label_area_size(px(74))
        .build_cartesian_2d(x_range, y_range)
        .map_err(drawing)?;
    draw_axes(&mut chart, x_label, y_label)?;

    let buckets = usize::max(BUCKETS / series.len().max(1), 8);
    let coloured = || series.iter().zip(COLOURS.iter().cycle());
    for (series, colour) in coloured() {
        draw_series(&mut chart, series, *colour, buckets)?;
    }
    for ((series, colour), position) in coloured().zip(legend) {
        draw_legend_entry(&canvas, series, *colour, position)?;
    }
    if points().next().is_none() {
        draw_empty_note(&canvas)?;
    }
    canvas.present().map_err(drawing)
}

/// Light horizontal and vertical lines, ticks and labels in plain numbers.
fn draw_axes(chart: &mut Chart<'_>, x_label: &str, y_label: &str) -> Result<()> {
    let steps = width(&chart.x_range());
    let y_width = width(&chart.y_range());
    // A handful of steps: no ticks between them.
    let x_ticks = if (1.0..10.0).contains(&steps) { steps as usize + 1 } else { 10 };
    chart
        .configure_mesh()
        .x_labels(x_ticks)
        .y_labels(8)
        .x_label_formatter(&|value| tick(*value, steps))
        .y_label_formatter(&|value| tick(*value, y_width))
        .max_light_lines(1)
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID.stroke_width(SCALE))
        .axis_style(FAINT_INK.stroke_width(SCALE))
        .set_all_tick_mark_size(px(4))
        .label_style(text_style(12, &FAINT_INK))
        .axis_desc_style(text_style(13, &INK))
        .x_desc(printable(x_label))
        .y_desc(printable(y_label))
        .draw()
        .map_err(drawing)
}

fn draw_series(
    chart: &mut Chart<'_>,
    series: &Series,
    colour: RGBColor,
    buckets: usize,
) -> Result<()> {
    let strong = colour.stroke_width(2 * SCALE);
    let points = thin(&series.points, buckets);
    if series.is_smoothed() {
        draw_line(chart, &points, colour.mix(0.3).stroke_width(SCALE))?;
        let span = series.points.len() as f64 * SMOOTH_SHARE;
        draw_line(chart, &thin(&smooth(&series.points, span), buckets / 2), strong)?;
    } else {
        draw_line(chart, &points, strong)?;
    }
    if series.has_dots() {
        let visible = points.iter().filter(|point| drawable(point));
        let dots = visible.map(|&point| Circle::new(point, px(4), colour.filled()));
        chart.draw_series(dots).map_err(drawing)?;
    }
    Ok(())
}

/// Draws a line with its gaps; a point between two gaps becomes a dot.
fn draw_line(chart: &mut Chart<'_>, points: &[Point], style: ShapeStyle) -> Result<()> {
    for piece in pieces(points) {
        if let [point] = piece {
            let dot = Circle::new(*point, style.stroke_width * 3 / 2, style.color.filled());
            chart.draw_series([dot]).map_err(drawing)?;
        } else {
            chart.draw_series(LineSeries::new(piece.iter().copied(), style)).map_err(drawing)?;
        }
    }
    Ok(())
}

/// Where the entries of the legend begin, in CSS pixels: a row between title and chart, or as
/// many rows as it takes. Widths are guessed generously, since only a viewer knows the font.
fn legend_positions(series: &[Series]) -> Vec<(u32, u32)> {
    const LEFT: u32 = 84;
    let (mut x, mut y) = (LEFT, 54);
    let place = |series: &Series| {
        let characters = u32::try_from(series.name.chars().count()).unwrap_or(u32::MAX);
        let width = characters.saturating_mul(8).saturating_add(56);
        if x > LEFT && x.saturating_add(width) > SIZE.0 {
            (x, y) = (LEFT, y + 20);
        }
        let position = (x, y);
        x = x.saturating_add(width);
        position
    };
    series.iter().map(place).collect()
}

fn draw_legend_entry(
    canvas: &Canvas<'_>,
    series: &Series,
    colour: RGBColor,
    (x, y): (u32, u32),
) -> Result<()> {
    let line = PathElement::new([at(x, y), at(x + 24, y)], colour.stroke_width(2 * SCALE));
    canvas.draw(&line).map_err(drawing)?;
    if series.has_dots() {
        canvas.draw(&Circle::new(at(x + 12, y), px(4), colour.filled())).map_err(drawing)?;
    }
    let style = text_style(13, &INK).pos(Pos::new(HPos::Left, VPos::Center));
    canvas.draw_text(&printable(&series.name), &style, at(x + 32, y)).map_err(drawing)
}

fn draw_empty_note(canvas: &Canvas<'_>) -> Result<()> {
    let centred = text_style(15, &FAINT_INK).pos(Pos::new(HPos::Center, VPos::Center));
    let (width, height) = SIZE;
    canvas.draw_text("no finite value yet", &centred, at(width / 2, height / 2)).map_err(drawing)
}

/// Puts the file's size back into CSS pixels; the view box keeps the finer drawing units.
fn finish(svg: String) -> String {
    let fine = format!("width=\"{}\" height=\"{}\"", px(SIZE.0), px(SIZE.1));
    let size = format!("width=\"{}\" height=\"{}\" role=\"img\"", SIZE.0, SIZE.1);
    svg.replacen(&fine, &size, 1)
}

/// The range that shows all `values` with `margin` (a share of it) on both sides, and a single
/// value with at least `least` around it. Never empty, and never below zero for values that
/// are not.
fn padded(values: impl Iterator<Item = f64>, margin: f64, least: f64) -> Range<f64> {
    let (low, high) =
        values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
    if low > high {
        return 0.0..1.0;
    }
    let size = low.abs().max(high.abs());
    let pad = if high - low > f64::max(1e-9 * size, 1e-12) {
        margin * (high - low)
    } else if size < 1e-11 {
        1.0
    } else {
        f64::max(0.1 * size, least)
    };
    let bottom = if low >= 0.0 { f64::max(low - pad, 0.0) } else { low - pad };
    bottom..high + pad
}

fn width(range: &Range<f64>) -> f64 {
    range.end - range.start
}

/// A number as an axis of the given width shows it: plain, with thousands apart, or with an
/// exponent.
fn tick(value: f64, axis: f64) -> String {
    let size = value.abs();
    if size < 1e-9 * axis {
        return "0".to_owned();
    }
    if !(1e-3..1e9).contains(&size) {
        // The shortest digits that give back the number, once rounding noise is cut.
        return format!("{:e}", format!("{value:.5e}").parse().unwrap_or(value));
    }
    // Ticks are multiples of a round step: digits far below the axis are rounding noise.
    let decimals = (2.0 - axis.log10()).clamp(0.0, 15.0) as usize + 1;
    let rounded = format!("{value:.decimals$}");
    let plain = rounded.trim_end_matches('0').trim_end_matches('.');
    let (whole, fraction) = plain.split_once('.').unwrap_or((plain, ""));
    let mut text = String::new();
    for (i, digit) in whole.chars().enumerate() {
        let following = whole.len() - i;
        if i > 0 && following.is_multiple_of(3) && !text.ends_with('-') {
            text.push(',');
        }
        text.push(digit);
    }
    if fraction.is_empty() { text } else { format!("{text}.{fraction}") }
}

/// Text without the characters that XML forbids.
fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}

/// A length in CSS pixels as drawing units.
fn px(length: u32) -> u32 {
    length * SCALE
}

/// A position in CSS pixels as drawing units.
fn at(x: u32, y: u32) -> (i32, i32) {
    (px(x) as i32, px(y) as i32)
}

fn text_style(size: u32, colour: &'static RGBColor) -> TextStyle<'static> {
    TextStyle::from((FONT, font_size(size))).color(colour)
}

/// Size of a font in drawing units, times the 1.24 by which the SVG backend divides it.
fn font_size(size: u32) -> f64 {
    f64::from(px(size)) * 1.24
}

fn drawing(error: impl Display) -> Error {
    Error::Draw(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A noisy falling loss.
    fn falling(steps: u32) -> Vec<Point> {
        let loss = |i: u32| {
            let noise = f64::from(i.wrapping_mul(2_654_435_761) >> 16) / 65_536.0 - 0.5;
            0.4 + 0.8 / (1.0 + f64::from(i) / 80.0) + 0.12 * noise
        };
        (0..steps).map(|i| (f64::from(i), loss(i))).collect()
    }

    fn chart(series: &[Series]) -> String {
        let svg = loss_svg("title", "step", "loss", series).unwrap();
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "a number that SVG does not know");
        svg
    }

    /// Numbers of (lines, dots) drawn in a series' colour.
    fn shapes(svg: &str) -> (usize, usize) {
        let colours = COLOURS.map(|RGBColor(r, g, b)| format!("\"#{r:02X}{g:02X}{b:02X}\""));
        let count = |tag| {
            svg.lines()
                .filter(|line| line.starts_with(tag) && colours.iter().any(|c| line.contains(c)))
                .count()
        };
        (count("<polyline"), count("<circle"))
    }

    #[test]
    fn a_long_line_is_drawn_twice_and_a_short_one_once() {
        assert_eq!(shapes(&chart(&[Series::line("a", falling(60))])), (1, 0));
        assert_eq!(shapes(&chart(&[Series::line("a", falling(61))])), (2, 0));
        assert_eq!(shapes(&chart(&[Series::dots("a", falling(61))])), (1, 61));
    }

    #[test]
    fn the_legend_appears_with_the_second_series() {
        let training = Series::line("training loss", falling(10));
        let validation = Series::dots("validation <loss>", falling(3));
        assert!(!chart(std::slice::from_ref(&training)).contains("training loss"));
        let both = chart(&[training, validation]);
        assert!(both.contains("training loss") && both.contains("validation &lt;loss&gt;"));
        // Two curves and two legend lines; three points and the legend's.
        assert_eq!(shapes(&both), (4, 4));
    }

    #[test]
    fn a_long_legend_wraps() {
        let series = vec![Series::line("a rather long name of a series", falling(2)); 6];
        let positions = legend_positions(&series);
        assert!(positions.iter().all(|(x, _)| *x < SIZE.0 / 2 + 84));
        assert!(positions.is_sorted_by_key(|(_, y)| *y));
        chart(&series);
        // More names than the chart has room for: the curves are hidden, but nothing breaks.
        chart(&vec![Series::line("x".repeat(1_000), falling(2)); 300]);
    }

    #[test]
    fn gaps_split_the_line() {
        let mut points = falling(30);
        points[10].1 = f64::NAN;
        points[20].1 = f64::INFINITY;
        points[22].1 = f64::NEG_INFINITY;
        // 0 to 9, 11 to 19, the lone 21, 23 to 29.
        assert_eq!(shapes(&chart(&[Series::line("a", points)])), (3, 1));
    }

    #[test]
    fn degenerate_series_work() {
        let missing = vec![(0.0, f64::NAN)];
        for points in [Vec::new(), missing] {
            assert!(chart(&[Series::line("a", points)]).contains("no finite value yet"));
        }
        assert_eq!(shapes(&chart(&[Series::line("a", vec![(1.0, 0.5)])])), (0, 1));
        for value in [0.0, 2.0, -3.0, 1e-300, 1e15, 1e149, -1e149] {
            let constant = (0..5).map(|i| (f64::from(i), value)).collect();
            assert_eq!(shapes(&chart(&[Series::line("a", constant)])), (1, 0), "{value}");
        }
        let barely_rising = (0..5).map(|i| (f64::from(i), 1e15 + 0.125 * f64::from(i))).collect();
        chart(&[Series::line("a", barely_rising)]);
    }

    #[test]
    fn however_long_the_series_the_file_stays_small() {
        let many = falling(300_000);
        let mut broken = many.clone();
        broken.iter_mut().step_by(2).for_each(|point| point.1 = f64::NAN);
        let mut torn = broken[..1_600].to_vec();
        torn.iter_mut().step_by(2).for_each(|point| point.1 = f64::NAN);
        for points in [many, broken, torn] {
            let one = chart(&[Series::line("a", points.clone())]);
            assert!(one.len() < 200_000, "{}", one.len());
            let dozen = chart(&vec![Series::line("a", points); 12]);
            assert!(dozen.len() < 200_000, "{}", dozen.len());
        }
    }

    #[test]
    fn titles_are_escaped_and_cannot_break_the_file() {
        let svg = loss_svg("a < b & \u{0}c", "\u{7}", "\"", &[]).unwrap();
        assert!(svg.contains("a &lt; b &amp; c"));
        assert!(!svg.contains(['\u{0}', '\u{7}']));
    }

    #[test]
    fn ticks_are_plain_numbers() {
        let cases = [
            (0.30000000000000004, "0.3"),
            (-0.002, "-0.002"),
            (1.0, "1"),
            (1500.0, "1,500"),
            (-100_000.0, "-100,000"),
            (1_234_567.5, "1,234,567.5"),
            (0.00025, "2.5e-4"),
            (3e-10, "3e-10"),
            (0.00030000000000000003, "3e-4"),
            (2e12, "2e12"),
        ];
        for (value, text) in cases {
            assert_eq!(tick(value, value.abs()), text);
        }
        assert_eq!(tick(5.6e-17, 1.0), "0");
        assert_eq!(tick(0.4000002, 1e-6), "0.4000002");
    }
}
