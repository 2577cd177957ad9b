//! Curves over training steps as one self-contained SVG.

use std::fmt::Display;
use std::ops::Range;

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::axis::{Axis, Scale, padded, width};
use crate::flag::{Flag, corners, spread};
use crate::palette::{FAINT_INK, GRID, INK, PAPER, colour};
use crate::thin::{Point, drawable, pieces, smooth, thin};
use crate::{Error, Result};

/// Size of a chart in CSS pixels, where none is asked for.
const SIZE: (u32, u32) = (860, 480);
/// Sizes that can be drawn.
const SIZES: std::ops::RangeInclusive<u32> = 200..=4000;
/// Drawing units a CSS pixel. Coordinates are whole numbers: finer ones keep slopes smooth.
const SCALE: u32 = 4;
/// Beyond this many points a line is drawn faintly with its moving average over it.
const SMOOTH_BEYOND: usize = 60;
/// The moving average spans this share of the curve.
const SMOOTH_SHARE: f64 = 1.0 / 40.0;
/// Stretches a curve may be thinned to, shared by the series of a chart.
const BUCKETS: usize = 800;
/// Stretches a series has at least, however many share a chart.
const FEWEST_BUCKETS: usize = 80;
/// Beyond this many points a series loses its dots.
const MOST_DOTS: usize = 200;

const FONT: &str = "Helvetica, Arial, sans-serif";

/// How a [`Series`] is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// A line; when the points are many, a faint one with its moving average over it.
    /// For something measured at every step.
    Line,
    /// A line as it is. For something that is smooth by itself, such as a learning rate.
    PlainLine,
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
    /// A vertical bar at each point, from a lowest to a highest value; none if this is empty. They are drawn as far as there
    /// are any, and not thinned: for a few points that are means of several values.
    pub spread: Vec<(f64, f64)>,
}

impl Series {
    /// A series of a name, drawn so.
    pub fn new(name: impl Into<String>, points: Vec<(f64, f64)>, mark: Mark) -> Self {
        Self { name: name.into(), points, mark, spread: Vec::new() }
    }

    /// A series that is drawn as a [line](Mark::Line), such as the training loss.
    pub fn line(name: impl Into<String>, points: Vec<(f64, f64)>) -> Self {
        Self::new(name, points, Mark::Line)
    }

    /// A series drawn with [dots](Mark::LineAndDots), such as the validation loss.
    pub fn dots(name: impl Into<String>, points: Vec<(f64, f64)>) -> Self {
        Self::new(name, points, Mark::LineAndDots)
    }

    /// The ends of the bars, as points.
    fn bars(&self) -> impl Iterator<Item = [Point; 2]> {
        let bars = self.points.iter().zip(&self.spread);
        bars.map(|(&(x, _), &(low, high))| [(x, low), (x, high)])
    }

    fn has_dots(&self) -> bool {
        self.mark == Mark::LineAndDots && self.points.len() <= MOST_DOTS
    }

    /// The moving average that is drawn over the points; none if they are drawn as they are.
    pub(crate) fn average(&self) -> Option<Vec<Point>> {
        let many = self.mark == Mark::Line && self.points.len() > SMOOTH_BEYOND;
        many.then(|| smooth(&self.points, self.points.len() as f64 * SMOOTH_SHARE))
    }
}

/// Series over common axes.
///
/// The fields that [`Chart::new`] does not take may be set afterwards.
#[derive(Debug, Clone, PartialEq)]
pub struct Chart {
    /// Above the chart; none if empty.
    pub title: String,
    /// Below the x axis.
    pub x_label: String,
    /// Beside the y axis.
    pub y_label: String,
    /// The curves. Each has the colour of its place in this list.
    pub series: Vec<Series>,
    /// What happened when, at the foot of the chart.
    pub flags: Vec<Flag>,
    /// How the values lie along the y axis.
    pub scale: Scale,
    /// How the points lie along the x axis.
    pub x_scale: Scale,
    /// What the x axis shows; just the points if none.
    pub x_range: Option<Range<f64>>,
    /// Width and height in CSS pixels, 200 to 4000 each.
    pub size: (u32, u32),
    /// Whether there is a legend, if there is more than one series.
    pub legend: bool,
}

impl Chart {
    /// A chart of 860 x 480 pixels with linear axes and a legend.
    pub fn new(title: &str, x_label: &str, y_label: &str, series: Vec<Series>) -> Self {
        Self {
            title: title.to_owned(),
            x_label: x_label.to_owned(),
            y_label: y_label.to_owned(),
            series,
            flags: Vec::new(),
            scale: Scale::Linear,
            x_scale: Scale::Linear,
            x_range: None,
            size: SIZE,
            legend: true,
        }
    }

    /// The text of an SVG file, below 200 KB however long the series are (for up to a dozen of
    /// them). Without any finite point the chart is empty and says so: a run that has just begun
    /// is not an error.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] for a size that cannot be drawn, [`Error::Draw`] if the drawing library
    /// fails.
    pub fn svg(&self) -> Result<String> {
        let (width, height) = self.size;
        if !SIZES.contains(&width) || !SIZES.contains(&height) {
            let (low, high) = (SIZES.start(), SIZES.end());
            let found = format!("a chart of {width} x {height} pixels");
            return Err(Error::Shape(format!("{found}: {low} to {high} can be drawn")));
        }
        let mut svg = String::new();
        self.draw(&mut svg)?;
        Ok(finish(svg, self.size))
    }

    fn draw(&self, svg: &mut String) -> Result<()> {
        let (width, height) = self.size;
        let canvas = SVGBackend::with_string(svg, (px(width), px(height))).into_drawing_area();
        canvas.fill(&PAPER).map_err(drawing)?;
        if !self.title.is_empty() {
            let bold = TextStyle::from((FONT, font_size(17), FontStyle::Bold)).color(&INK);
            canvas.draw_text(&printable(&self.title), &bold, at(24, 18)).map_err(drawing)?;
        }
        let legend = self.legend_positions();
        let top = legend.last().map_or(if self.title.is_empty() { 12 } else { 50 }, |l| l.1 + 22);
        let (x_range, y_range) = self.ranges();
        let mut plot = ChartBuilder::on(&canvas)
            .margin_top(px(top))
            .margin_right(px(34))
            .margin_bottom(px(10))
            .margin_left(px(10))
            .x_label_area_size(px(44))
            .y_label_area_size(px(74))
            .build_cartesian_2d(self.x_axis(x_range), self.y_axis(y_range))
            .map_err(drawing)?;
        self.draw_axes(&mut plot)?;
        self.draw_series(&mut plot)?;
        self.draw_flags(&mut plot)?;
        for (i, position) in legend.into_iter().enumerate() {
            draw_legend_entry(&canvas, &self.series[i], i, position)?;
        }
        if self.places().next().is_none() {
            let centred = text_style(15, &FAINT_INK).pos(Pos::new(HPos::Center, VPos::Center));
            let middle = at(width / 2, height / 2);
            canvas.draw_text("no finite value yet", &centred, middle).map_err(drawing)?;
        }
        canvas.present().map_err(drawing)
    }

    /// Where all points lie along the axes, those that can be shown.
    fn places(&self) -> impl Iterator<Item = Point> {
        let points = self.series.iter().flat_map(|series| series.points.iter().copied());
        let bars = self.series.iter().flat_map(|series| series.bars().flatten());
        points.chain(bars).map(|point| self.place(point)).filter(drawable)
    }

    fn place(&self, (x, y): Point) -> Point {
        (self.x_scale.place(x), self.scale.place(y))
    }

    fn ranges(&self) -> (Range<f64>, Range<f64>) {
        let asked = self.x_range.clone().filter(|range| {
            drawable(&(range.start, range.end)) && range.end - range.start > 1e-9 * range.end.abs()
        });
        let asked =
            asked.map(|range| self.x_scale.place(range.start)..self.x_scale.place(range.end));
        let places = || self.places().map(|place| place.0);
        let x = asked.unwrap_or_else(|| match self.x_scale {
            Scale::Linear => padded(places(), 0.0, 1.0),
            Scale::Log => self.x_scale.range(places(), 0.05),
        });
        (x, self.scale.range(self.places().map(|place| place.1), 0.05))
    }

    fn x_axis(&self, range: Range<f64>) -> Axis {
        let steps = width(&range);
        // A handful of steps: no ticks between them.
        let most = usize::max(self.size.0 as usize / 80, 2);
        let few = self.x_scale == Scale::Linear && (1.0..10.0).contains(&steps);
        let most = if few { most.min(steps as usize + 1) } else { most };
        let ticks = self.x_scale.ticks(&range, most);
        Axis::new(range, ticks)
    }

    fn y_axis(&self, range: Range<f64>) -> Axis {
        let ticks = self.scale.ticks(&range, usize::max(self.size.1 as usize / 60, 2));
        Axis::new(range, ticks)
    }

    /// Light horizontal and vertical lines, ticks and labels in plain numbers.
    fn draw_axes(&self, plot: &mut Plot<'_>) -> Result<()> {
        let (x_range, y_range) = (plot.x_range(), plot.y_range());
        plot.configure_mesh()
            .x_label_formatter(&|value| self.x_scale.label(*value, &x_range))
            .y_label_formatter(&|value| self.scale.label(*value, &y_range))
            .max_light_lines(1)
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID.stroke_width(SCALE))
            .axis_style(FAINT_INK.stroke_width(SCALE))
            .set_all_tick_mark_size(px(4))
            .label_style(text_style(12, &FAINT_INK))
            .axis_desc_style(text_style(13, &INK))
            .x_desc(printable(&self.x_label))
            .y_desc(printable(&self.y_label))
            .draw()
            .map_err(drawing)
    }

    /// Draws all that is faint first, so that no series' noise lies over another's average.
    fn draw_series(&self, plot: &mut Plot<'_>) -> Result<()> {
        let averages: Vec<_> = self.series.iter().map(Series::average).collect();
        let share = BUCKETS * self.size.0 as usize / SIZE.0 as usize / self.series.len().max(1);
        let buckets = usize::max(share, FEWEST_BUCKETS);
        for (i, series) in self.series.iter().enumerate().filter(|(i, _)| averages[*i].is_some()) {
            let faint = colour(i).0.mix(0.3).stroke_width(SCALE);
            draw_line(plot, &self.placed(&thin(&series.points, buckets)), faint)?;
        }
        for (i, (series, average)) in self.series.iter().zip(&averages).enumerate() {
            let points = match average {
                Some(average) => thin(average, buckets / 2),
                None => thin(&series.points, buckets),
            };
            let points = self.placed(&points);
            draw_line(plot, &points, strong(i))?;
            for bar in series.bars() {
                draw_line(plot, &self.placed(&bar), strong(i))?;
            }
            if series.has_dots() {
                let visible = points.iter().filter(|point| drawable(point));
                let dots = visible.map(|&point| Circle::new(point, px(4), colour(i).0.filled()));
                plot.draw_series(dots).map_err(drawing)?;
            }
        }
        Ok(())
    }

    fn placed(&self, points: &[Point]) -> Vec<Point> {
        points.iter().map(|&point| self.place(point)).collect()
    }

    fn draw_flags(&self, plot: &mut Plot<'_>) -> Result<()> {
        let (x_range, foot) = (plot.x_range(), plot.y_range().start);
        // The end is in it: that is where a run stands that has just been resumed.
        let shown = |x: f64| x_range.start <= x && x <= x_range.end;
        let distance = 8.0 * width(&x_range) / f64::from(self.size.0);
        let flags = spread(&self.flags, distance);
        let symbols = flags.iter().filter(|flag| shown(self.x_scale.place(flag.x))).map(|flag| {
            let unit = px(1) as i32;
            let corners = corners(flag.kind).iter().map(|(x, y)| (x * unit, (y - 7) * unit));
            let shape = Polygon::new(corners.collect::<Vec<_>>(), colour(flag.series).0.filled());
            EmptyElement::at((self.x_scale.place(flag.x), foot)) + shape
        });
        plot.draw_series(symbols).map_err(drawing)?;
        Ok(())
    }

    /// Where the entries of the legend begin, in CSS pixels: a row between title and chart, or as
    /// many rows as it takes. Widths are guessed generously, since only a viewer knows the font.
    fn legend_positions(&self) -> Vec<(u32, u32)> {
        const LEFT: u32 = 84;
        if !self.legend || self.series.len() < 2 {
            return Vec::new();
        }
        let (mut x, mut y) = (LEFT, if self.title.is_empty() { 18 } else { 54 });
        let place = |series: &Series| {
            let characters = u32::try_from(series.name.chars().count()).unwrap_or(u32::MAX);
            let width = characters.saturating_mul(8).saturating_add(56);
            if x > LEFT && x.saturating_add(width) > self.size.0 {
                (x, y) = (LEFT, y + 20);
            }
            let position = (x, y);
            x = x.saturating_add(width);
            position
        };
        self.series.iter().map(place).collect()
    }
}

/// Draws `series` over common axes and returns the text of an SVG file: a [`Chart`] as
/// [`Chart::new`] makes it.
///
/// # Errors
///
/// [`Error::Draw`] if the drawing library fails.
pub fn loss_svg(title: &str, x_label: &str, y_label: &str, series: &[Series]) -> Result<String> {
    Chart::new(title, x_label, y_label, series.to_vec()).svg()
}

type Canvas<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;
type Plot<'a> = ChartContext<'a, SVGBackend<'a>, Cartesian2d<Axis, Axis>>;

/// The line of the `i`-th series. Where colours come again, it is a little wider each time: the
/// page's style sheet dashes lines by their width.
fn strong(i: usize) -> ShapeStyle {
    let (colour, round) = colour(i);
    colour.stroke_width(2 * SCALE + round)
}

/// Draws a line with its gaps; a point between two gaps becomes a dot.
fn draw_line(plot: &mut Plot<'_>, points: &[Point], style: ShapeStyle) -> Result<()> {
    for piece in pieces(points) {
        if let [point] = piece {
            let dot = Circle::new(*point, style.stroke_width * 3 / 2, style.color.filled());
            plot.draw_series([dot]).map_err(drawing)?;
        } else {
            plot.draw_series(LineSeries::new(piece.iter().copied(), style)).map_err(drawing)?;
        }
    }
    Ok(())
}

fn draw_legend_entry(
    canvas: &Canvas<'_>,
    series: &Series,
    i: usize,
    (x, y): (u32, u32),
) -> Result<()> {
    canvas.draw(&PathElement::new([at(x, y), at(x + 24, y)], strong(i))).map_err(drawing)?;
    if series.has_dots() {
        let dot = Circle::new(at(x + 12, y), px(4), colour(i).0.filled());
        canvas.draw(&dot).map_err(drawing)?;
    }
    let style = text_style(13, &INK).pos(Pos::new(HPos::Left, VPos::Center));
    canvas.draw_text(&printable(&series.name), &style, at(x + 32, y)).map_err(drawing)
}

/// Puts the file's size back into CSS pixels; the view box keeps the finer drawing units.
fn finish(svg: String, (width, height): (u32, u32)) -> String {
    let fine = format!("width=\"{}\" height=\"{}\"", px(width), px(height));
    let size = format!("width=\"{width}\" height=\"{height}\" role=\"img\"");
    svg.replacen(&fine, &size, 1)
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
    use crate::EventKind;
    use crate::palette::{COLOURS, hex};

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

    #[test]
    fn bars_show_the_spread_of_few_points_along_a_logarithmic_axis() {
        let means = vec![(64.0, 0.4), (256.0, 0.5), (1024.0, 0.55)];
        let spread = vec![(0.38, 0.42), (0.45, 0.56), (0.55, 0.55)];
        let series = Series { spread, ..Series::dots("seeds", means) };
        let chart =
            Chart { x_scale: Scale::Log, ..Chart::new("", "tokens", "top-1", vec![series]) };
        let svg = chart.svg().unwrap();
        let (lines, dots) = shapes(&svg);
        // A line and three bars, the last of no length: a dot.
        assert!(lines >= 3 && dots >= 3, "{lines} lines, {dots} dots");
        let labels: Vec<&str> = svg.lines().map(str::trim).collect();
        assert!(labels.contains(&"100"), "100 is no tick: {svg}");
        assert!(!svg.contains("NaN"));
    }

    /// Numbers of (lines, dots) drawn in a series' colour.
    fn shapes(svg: &str) -> (usize, usize) {
        let colours = COLOURS.map(|colour| format!("\"{}\"", hex(colour)));
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
        let positions = Chart::new("title", "", "", series.clone()).legend_positions();
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
    fn flags_stand_at_the_foot_in_their_series_colour() {
        let mut chart = Chart::new("", "step", "loss", vec![Series::line("a", falling(10)); 2]);
        let flag = |x, kind, series| Flag { x, kind, series };
        chart.flags = vec![
            flag(2.0, EventKind::Resume, 0),
            flag(4.0, EventKind::Skip, 1),
            flag(5.0, EventKind::Rollback, 1),
            flag(9.0, EventKind::Resume, 1),
            flag(99.0, EventKind::Skip, 1),
        ];
        let svg = chart.svg().unwrap();
        let drawn = |colour| {
            let fill = format!("fill=\"{}\"", hex(colour));
            svg.lines().filter(|line| line.starts_with("<polygon") && line.contains(&fill)).count()
        };
        // What is outside of the chart is not drawn.
        assert_eq!((drawn(COLOURS[0]), drawn(COLOURS[1])), (1, 3));
    }

    #[test]
    fn a_logarithmic_chart_has_gaps_where_nothing_is_above_zero() {
        let points = [0.01, 0.1, 0.0, 10.0, 100.0].into_iter().enumerate();
        let points = points.map(|(i, value)| (i as f64, value)).collect();
        let mut chart = Chart::new("", "step", "norm", vec![Series::line("a", points)]);
        chart.scale = Scale::Log;
        let svg = chart.svg().unwrap();
        assert_eq!(shapes(&svg), (2, 0));
        assert!(svg.contains("0.01") && svg.contains("100"));
    }

    #[test]
    fn a_size_that_cannot_be_drawn_is_an_error() {
        for size in [(0, 300), (300, u32::MAX)] {
            let chart = Chart { size, ..Chart::new("", "", "", Vec::new()) };
            assert!(matches!(chart.svg(), Err(Error::Shape(_))));
        }
    }

    #[test]
    fn titles_are_escaped_and_cannot_break_the_file() {
        let svg = loss_svg("a < b & \u{0}c", "\u{7}", "\"", &[]).unwrap();
        assert!(svg.contains("a &lt; b &amp; c"));
        assert!(!svg.contains(['\u{0}', '\u{7}']));
    }
}
