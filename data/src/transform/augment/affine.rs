//! Pillow's `Image.transform(AFFINE)` and `Image.rotate`, to the bit.

use super::samples::{bytes, like};
use crate::error::{Error, Result};
use crate::image::Image;

/// How samples between pixels are made up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Interpolation {
    /// The nearest pixel's.
    Nearest,
    /// From 2 x 2 pixels.
    Bilinear,
    /// From 4 x 4 pixels, with the cubic of parameter -1 that Pillow's `transform` has (and its `resize` has not).
    Bicubic,
}

/// `[a, b, c, d, e, f]`: the result's point (x, y) is the image's point (a x + b y + c, d x + e y + f), in pixels from
/// the top left corner; the middle of the first pixel is (0.5, 0.5).
pub type Matrix = [f64; 6];

/// Transforms the plane. The result has the size of the image; what comes from outside of it is `fill`: one level a
/// channel, or one for all.
///
/// # Errors
/// [`Error::Setting`] if the matrix is not finite or `fill` has another number of levels, [`Error::Unsuited`] unless the
/// image has 8-bit samples of 1 or 3 channels.
pub fn affine(
    image: &Image,
    matrix: Matrix,
    interpolation: Interpolation,
    fill: &[u8],
) -> Result<Image> {
    let samples = bytes(image, "affine")?;
    if !matrix.iter().all(|v| v.is_finite()) {
        let expected = "six finite numbers".into();
        return Err(Error::Setting { name: "affine", found: format!("{matrix:?}"), expected });
    }
    match image.channels {
        3 => Grid::<3>::new(image, samples).transformed(image, matrix, interpolation, fill),
        _ => Grid::<1>::new(image, samples).transformed(image, matrix, interpolation, fill),
    }
}

/// Turns against the clock about the middle, as Pillow's `rotate` without `expand`: right angles are exact.
///
/// # Errors
/// As [`affine`].
pub fn rotate(
    image: &Image,
    degrees: f64,
    interpolation: Interpolation,
    fill: &[u8],
) -> Result<Image> {
    let samples = bytes(image, "rotate")?;
    let angle = degrees.rem_euclid(360.0);
    let square = image.width == image.height;
    if angle == 0.0 {
        return Ok(image.clone());
    } else if angle == 180.0 || (square && (angle == 90.0 || angle == 270.0)) {
        return Ok(turned(image, samples, (angle / 90.0) as u8));
    }
    // Python's round(v, 15) is the decimal number nearest to v, as formatting is here.
    let rounded = |v: f64| format!("{v:.15}").parse().unwrap_or(v);
    let radians = -angle.to_radians();
    let (cos, sin): (f64, f64) = (rounded(radians.cos()), rounded(radians.sin()));
    let minus_sin: f64 = rounded(-radians.sin());
    let (x, y) = (image.width as f64 / 2.0, image.height as f64 / 2.0);
    let c = cos * -x + sin * -y + 0.0 + x;
    let f = minus_sin * -x + cos * -y + 0.0 + y;
    affine(image, [cos, sin, c, minus_sin, cos, f], interpolation, fill)
}

/// A quarter turn of a square, or two, or three, against the clock.
fn turned(image: &Image, samples: &[u8], quarters: u8) -> Image {
    let (width, height, channels) = (image.width, image.height, image.channels);
    let mut out = Vec::with_capacity(samples.len());
    for y in 0..height {
        for x in 0..width {
            let (row, column) = match quarters {
                1 => (x, width - 1 - y),
                2 => (height - 1 - y, width - 1 - x),
                _ => (height - 1 - x, y),
            };
            let start = (row * width + column) * channels;
            out.extend_from_slice(&samples[start..start + channels]);
        }
    }
    like(image, out)
}

/// The pixels of an image with `C` channels.
struct Grid<'a, const C: usize> {
    pixels: &'a [[u8; C]],
    width: usize,
    height: usize,
}

impl<'a, const C: usize> Grid<'a, C> {
    fn new(image: &Image, samples: &'a [u8]) -> Self {
        Self { pixels: samples.as_chunks().0, width: image.width, height: image.height }
    }

    fn transformed(
        &self,
        image: &Image,
        m: Matrix,
        interpolation: Interpolation,
        fill: &[u8],
    ) -> Result<Image> {
        let mut out = vec![level_a_channel::<C>(fill)?; self.pixels.len()];
        match interpolation {
            Interpolation::Nearest if m[1] == 0.0 && m[3] == 0.0 => {
                self.nearest_by_axes(m, &mut out)
            }
            Interpolation::Nearest if self.fits_fixed_point(m) => self.nearest_fixed(m, &mut out),
            Interpolation::Nearest => self.nearest(m, &mut out),
            Interpolation::Bilinear => self.each(m, &mut out, |x, y| self.bilinear(x, y)),
            Interpolation::Bicubic => self.each(m, &mut out, |x, y| self.bicubic(x, y)),
        }
        Ok(like(image, out.into_flattened()))
    }

    /// Calls `sample` with the point of the image that each pixel of the result comes from.
    fn each(&self, m: Matrix, out: &mut [[u8; C]], sample: impl Fn(f64, f64) -> [u8; C]) {
        let [a, b, c, d, e, f] = m;
        for (row, out) in out.chunks_exact_mut(self.width).enumerate() {
            let y = row as f64 + 0.5;
            for (column, out) in out.iter_mut().enumerate() {
                let x = column as f64 + 0.5;
                let (x, y) = (a * x + b * y + c, d * x + e * y + f);
                if x >= 0.0 && x < self.width as f64 && y >= 0.0 && y < self.height as f64 {
                    *out = sample(x - 0.5, y - 0.5);
                }
            }
        }
    }

    /// Columns and rows are looked up on their own; positions add up, rounding included, as in Pillow.
    fn nearest_by_axes(&self, [a, _, c, _, e, f]: Matrix, out: &mut [[u8; C]]) {
        let places = |start: f64, step: f64, len: usize| {
            std::iter::successors(Some(start + step * 0.5), move |at| Some(at + step))
                .map(move |at| place(at, len))
                .take(len)
        };
        let columns: Vec<Option<usize>> = places(c, a, self.width).collect();
        for (row, out) in places(f, e, self.height).zip(out.chunks_exact_mut(self.width)) {
            let Some(row) = row else { continue };
            for (column, out) in columns.iter().zip(out) {
                if let Some(column) = column {
                    *out = self.pixels[row * self.width + column];
                }
            }
        }
    }

    /// Whether Pillow would count in 16 bits of whole numbers and 16 of fraction.
    fn fits_fixed_point(&self, [a, b, c, d, e, f]: Matrix) -> bool {
        let (width, height) = (self.width as f64, self.height as f64);
        [(0.0, 0.0), (width, height), (0.0, height), (width, 0.0)].iter().all(|(x, y)| {
            (x * a + y * b + c).abs() < 32768.0 && (x * d + y * e + f).abs() < 32768.0
        })
    }

    fn nearest_fixed(&self, [a, b, c, d, e, f]: Matrix, out: &mut [[u8; C]]) {
        let fixed = |v: f64| (v * 65536.0 + 0.5).floor() as i64;
        let (step_x, step_y) = ([fixed(a), fixed(b)], [fixed(d), fixed(e)]);
        let start = [fixed(c + a * 0.5 + b * 0.5), fixed(f + d * 0.5 + e * 0.5)];
        let place = |v: i64, len| usize::try_from(v >> 16).ok().filter(|&v| v < len);
        for (row, out) in (0..).zip(out.chunks_exact_mut(self.width)) {
            for (column, out) in (0..).zip(out) {
                let x = place(start[0] + step_x[1] * row + step_x[0] * column, self.width);
                let y = place(start[1] + step_y[1] * row + step_y[0] * column, self.height);
                if let (Some(x), Some(y)) = (x, y) {
                    *out = self.pixels[y * self.width + x];
                }
            }
        }
    }

    /// What Pillow does with images and matrices that are very large; positions add up as above.
    fn nearest(&self, [a, b, c, d, e, f]: Matrix, out: &mut [[u8; C]]) {
        let mut start = [c + b * 0.5 + a * 0.5, f + e * 0.5 + d * 0.5];
        for out in out.chunks_exact_mut(self.width) {
            let [mut x, mut y] = start;
            for out in out {
                if let (Some(x), Some(y)) = (place(x, self.width), place(y, self.height)) {
                    *out = self.pixels[y * self.width + x];
                }
                (x, y) = (x + a, y + d);
            }
            start = [start[0] + b, start[1] + e];
        }
    }

    fn bilinear(&self, x: f64, y: f64) -> [u8; C] {
        let (columns, dx) = neighbours::<2>(x, 0, self.width);
        let (rows, dy) = neighbours::<2>(y, 0, self.height);
        let corners = rows.map(|row| columns.map(|column| &self.pixels[row * self.width + column]));
        std::array::from_fn(|channel| {
            let [above, below] = corners.map(|row| {
                let [left, right] = row.map(|pixel| f64::from(pixel[channel]));
                left + (right - left) * dx
            });
            (above + (below - above) * dy) as u8
        })
    }

    fn bicubic(&self, x: f64, y: f64) -> [u8; C] {
        let (columns, dx) = neighbours::<4>(x, 1, self.width);
        let (rows, dy) = neighbours::<4>(y, 1, self.height);
        let window = rows.map(|row| columns.map(|column| &self.pixels[row * self.width + column]));
        std::array::from_fn(|channel| {
            let rows = window.map(|row| cubic(row.map(|pixel| f64::from(pixel[channel])), dx));
            // The cast stays within 0 and 255.
            cubic(rows, dy) as u8
        })
    }
}

/// The pixel that a position lies in, if it is one of `len`.
fn place(at: f64, len: usize) -> Option<usize> {
    (at >= 0.0 && at < len as f64).then_some(at as usize)
}

/// `N` neighbouring indices, the first of them `before` places before `at`, repeated at the edges; and where `at` lies
/// between two of them.
fn neighbours<const N: usize>(at: f64, before: usize, len: usize) -> ([usize; N], f64) {
    // One more than `at` rounded down, which may be -1.
    let start = if at < 0.0 { 0 } else { at as usize + 1 };
    let index = |i: usize| (start + i).saturating_sub(before + 1).min(len - 1);
    (std::array::from_fn(index), at - (start as f64 - 1.0))
}

/// The cubic through `b` and `c` with slopes `c - a` and `d - b`, in Pillow's order of additions.
fn cubic([a, b, c, d]: [f64; 4], t: f64) -> f64 {
    let p2 = -a + c;
    let p3 = 2.0 * (a - b) + c - d;
    let p4 = -a + b - c + d;
    b + t * (p2 + t * (p3 + t * p4))
}

fn level_a_channel<const C: usize>(fill: &[u8]) -> Result<[u8; C]> {
    if let [one] = *fill {
        return Ok([one; C]);
    }
    fill.try_into().map_err(|_| Error::Setting {
        name: "fill",
        found: format!("{fill:?}"),
        expected: format!("one level, or {C}"),
    })
}
