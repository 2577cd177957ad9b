//! Polygons to masks, exactly as pycocotools' `rleFrPoly` does: the outline is drawn five times as large, and where it
//! crosses the middle of a column of pixels, the column changes between outside and inside.

use super::{Rle, pixels, refused};
use crate::error::Result;
use crate::size::Size;

/// How much larger the outline is drawn.
const SCALE: f64 = 5.0;

/// The farthest from the origin that a corner may lie, in pixels: beyond any image, and no number below overflows.
const FARTHEST: f64 = 1e7;

/// The most points of an enlarged outline; one of an image of [`MAX_PIXELS`](crate::MAX_PIXELS) has some 300,000.
const MOST_POINTS: u64 = 1 << 25;

impl Rle {
    /// The mask of a polygon given as x, y, x, y and so on, in pixels; a pixel reaches from its column's and row's
    /// number to the next. Where a polygon crosses itself, what it encloses twice is outside.
    ///
    /// Fewer than three corners enclose nothing or next to nothing. (pycocotools' `frPyObjects` takes a list of four
    /// numbers for a box: see [`from_box`](Self::from_box).)
    ///
    /// # Errors
    /// [`Error::Mask`](crate::Error::Mask) for no corner, an odd number of coordinates, a coordinate that is not finite
    /// or farther away than ten million pixels, an outline longer than six million pixels, and sizes that
    /// [`new`](Self::new) refuses.
    pub fn from_polygon(xy: &[f64], size: Size) -> Result<Self> {
        let pixels = pixels(size)?;
        if xy.is_empty() || xy.len() % 2 == 1 {
            return Err(refused(format!("its polygon has {} coordinates", xy.len())));
        }
        if let Some(far) = xy.iter().find(|v| !(-FARTHEST..=FARTHEST).contains(*v)) {
            return Err(refused(format!(
                "a coordinate of its polygon is {far}, not within {FARTHEST} pixels"
            )));
        }
        let corners: Vec<_> =
            xy.chunks_exact(2).map(|xy| (enlarged(xy[0]), enlarged(xy[1]))).collect();
        let mut crossings = crossings(&corners, size)?;
        crossings.push(pixels);
        crossings.sort_unstable();
        Ok(Self { size, counts: runs(&crossings) })
    }

    /// The mask of several polygons together.
    ///
    /// # Errors
    /// See [`from_polygon`](Self::from_polygon).
    pub fn from_polygons(polygons: &[Vec<f64>], size: Size) -> Result<Self> {
        polygons.iter().try_fold(Self::empty(size)?, |all, polygon| {
            Self::union([&all, &Self::from_polygon(polygon, size)?])
        })
    }

    /// The mask of a box given as x, y, width and height, in pixels.
    ///
    /// # Errors
    /// See [`from_polygon`](Self::from_polygon).
    pub fn from_box([x, y, width, height]: [f64; 4], size: Size) -> Result<Self> {
        let (right, bottom) = (x + width, y + height);
        Self::from_polygon(&[x, y, x, bottom, right, bottom, right, y], size)
    }
}

/// Rounded as C does by adding one half and cutting off: below zero, towards zero.
fn enlarged(coordinate: f64) -> i32 {
    (SCALE * coordinate + 0.5) as i32
}

/// Where the outline crosses the middles of columns: numbers of pixels, column by column.
fn crossings(corners: &[(i32, i32)], size: Size) -> Result<Vec<u32>> {
    let next = corners.iter().cycle().skip(1);
    let edges = || corners.iter().copied().zip(next.clone().copied());
    let points: u64 = edges().map(|(a, b)| steps(a, b) + 1).sum();
    if points > MOST_POINTS {
        let length = points / SCALE as u64;
        return Err(refused(format!("the outline of its polygon is {length} pixels long")));
    }
    let (mut crossings, mut last): (Vec<u32>, Option<(i32, i32)>) = (Vec::new(), None);
    for (a, b) in edges() {
        for point in edge(a, b) {
            crossings.extend(last.and_then(|last| crossing(last, point, size)));
            last = Some(point);
        }
    }
    Ok(crossings)
}

fn steps(a: (i32, i32), b: (i32, i32)) -> u64 {
    u64::from(a.0.abs_diff(b.0).max(a.1.abs_diff(b.1)))
}

/// The points of an edge, one for each step along its longer side, both ends among them.
fn edge(a: (i32, i32), b: (i32, i32)) -> impl Iterator<Item = (i32, i32)> {
    let (dx, dy) = (a.0.abs_diff(b.0) as i32, a.1.abs_diff(b.1) as i32);
    let flat = dx >= dy;
    // Drawn from left to right or from top to bottom, so that an edge does not depend on its direction.
    let flip = if flat { a.0 > b.0 } else { a.1 > b.1 };
    let (start, end) = if flip { (b, a) } else { (a, b) };
    let slope = match flat {
        true => f64::from(end.1 - start.1) / f64::from(dx),
        false => f64::from(end.0 - start.0) / f64::from(dy),
    };
    let length = dx.max(dy);
    (0..=length).map(move |step| {
        let t = if flip { length - step } else { step };
        let across = |from: i32| cut_off(f64::from(from) + slope * f64::from(t) + 0.5);
        match flat {
            true => (start.0 + t, across(start.1)),
            false => (across(start.0), start.1 + t),
        }
    })
}

/// A float to an integer as C does on common processors: what is no number (the slope of an edge without length)
/// becomes the smallest.
fn cut_off(value: f64) -> i32 {
    if value.is_nan() { i32::MIN } else { value as i32 }
}

/// The pixel at which the step from `a` to `b` crosses the middle of a column of the image, if it does.
fn crossing(a: (i32, i32), b: (i32, i32), size: Size) -> Option<u32> {
    if a.0 == b.0 {
        return None;
    }
    let reduced = |v: i32| (f64::from(v) + 0.5) / SCALE - 0.5;
    let x = reduced(if b.0 < a.0 { b.0 } else { b.0 - 1 });
    if x.floor() != x || x < 0.0 || x > size.width as f64 - 1.0 {
        return None;
    }
    let y = reduced(b.1.min(a.1)).clamp(0.0, size.height as f64).ceil();
    // At most the number of pixels, which fits.
    Some(x as u32 * size.height as u32 + y as u32)
}

/// The lengths between sorted places. Two crossings at one place cancel out.
fn runs(places: &[u32]) -> Vec<u32> {
    let before = std::iter::once(0).chain(places.iter().copied());
    let mut lengths = places.iter().zip(before).map(|(place, before)| place - before);
    let mut counts: Vec<u32> = lengths.next().into_iter().collect();
    while let Some(length) = lengths.next() {
        match (length, counts.last_mut()) {
            (0, Some(last)) => *last += lengths.next().unwrap_or(0),
            _ => counts.push(length),
        }
    }
    counts
}
