//! Reconstructions side by side, as one picture.

use image::imageops::{self, FilterType};
use image::{Rgb, RgbImage};

use crate::text::{Font, wrap};
use crate::{Error, ImageSpec, MaskedImage, Reconstruction, Result, Statistics};

const PAPER: Rgb<u8> = Rgb([250, 250, 251]);
const INK: Rgb<u8> = Rgb([38, 43, 51]);
const FAINT_INK: Rgb<u8> = Rgb([98, 106, 117]);
const FRAME: Rgb<u8> = Rgb([208, 212, 219]);

const MARGIN: u32 = 28;
const GAP: u32 = 14;
/// Images are enlarged until their longer side has so many pixels.
const SMALLEST_CELL: u32 = 160;
/// Images are reduced until their longer side has no more than so many pixels.
const LARGEST_CELL: u32 = 512;
const MOST_ROWS: usize = 1024;

const HEADINGS: [&str; 4] = ["original", "visible patches", "prediction", "prediction pasted in"];

/// Draws `rows` below each other, each as original, visible patches with the hidden ones grey,
/// prediction alone, and prediction pasted into the visible patches.
///
/// The header has `title` (say which run and step), what share of the patches was hidden,
/// whose [`Statistics`] were used, and which bands are shown. One channel is shown as grey, of
/// two the first one as grey, of more than three the first three as red, green and blue. Values
/// outside of the display range are cut off; those that are not a number are black. Small
/// images are enlarged by a whole factor without smoothing, large ones reduced.
///
/// # Errors
///
/// [`Error::Shape`] if there are no rows, or more than 1024, or if sizes do not fit together;
/// [`Error::Length`] if a part of a row has the wrong length.
pub fn reconstruction_grid(
    title: &str,
    spec: &ImageSpec,
    statistics: Statistics,
    rows: &[Reconstruction],
) -> Result<RgbImage> {
    check_rows(rows.len())?;
    let mut cells = Vec::with_capacity(rows.len());
    for row in rows {
        let planes = spec.reconstruct(row, statistics)?;
        let columns = [planes.original, planes.masked, planes.prediction, planes.pasted];
        cells.push(columns.map(|planar| spec.cell(&planar)).to_vec());
    }
    let mut notes = vec![hidden_share(spec, rows.iter().map(|row| &row.mask))];
    notes.push(statistics.description().to_owned());
    notes.extend(bands(spec));
    Ok(compose(title, &notes, &HEADINGS, &cells))
}

/// Draws samples, two in a row, each as the model gets it and with its hidden patches grey.
///
/// The header has `title`, what share of the patches is hidden, and which bands are shown. See
/// [`reconstruction_grid`] for how images are shown.
///
/// # Errors
///
/// [`Error::Shape`] if there are no samples, or more than 2048, or if sizes do not fit together;
/// [`Error::Length`] if an image or a mask has the wrong length.
pub fn contact_sheet(title: &str, spec: &ImageSpec, samples: &[MaskedImage]) -> Result<RgbImage> {
    check_rows(samples.len().div_ceil(2))?;
    let mut rows = Vec::new();
    for pair in samples.chunks(2) {
        let mut row = Vec::with_capacity(4);
        for MaskedImage { image, mask } in pair {
            row.extend(spec.masked(image, mask)?.map(|planar| spec.cell(&planar)));
        }
        let (width, height) = row[0].dimensions();
        row.resize(4, RgbImage::from_pixel(width, height, PAPER));
        rows.push(row);
    }
    let mut notes = vec![hidden_share(spec, samples.iter().map(|sample| &sample.mask))];
    notes.extend(bands(spec));
    let headings = ["sample", "visible patches", "sample", "visible patches"];
    Ok(compose(title, &notes, &headings, &rows))
}

pub(crate) fn check_rows(rows: usize) -> Result<()> {
    match rows {
        1..=MOST_ROWS => Ok(()),
        _ => Err(Error::Shape(format!("a picture of {rows} rows: 1 to {MOST_ROWS} can be drawn"))),
    }
}

fn hidden_share<'a>(spec: &ImageSpec, masks: impl Iterator<Item = &'a Vec<bool>>) -> String {
    let (mut total, mut hidden) = (0, 0);
    for mask in masks {
        total += mask.len();
        hidden += mask.iter().filter(|removed| **removed).count();
    }
    let percent = 100.0 * hidden as f64 / total as f64;
    let p = spec.patch_size;
    format!("{percent:.1}% of the patches of {p} x {p} pixels are hidden.")
}

/// Which bands are shown, where that is not plain.
pub(crate) fn bands(spec: &ImageSpec) -> Option<String> {
    match spec.channels {
        1 | 3 => None,
        2 => Some("Shown: band 1 of 2, as grey.".to_owned()),
        n => Some(format!("Shown: bands 1-3 of {n}, as red, green and blue.")),
    }
}

impl ImageSpec {
    /// A planar image in the display range as a picture of the size it is shown at.
    pub(crate) fn cell(&self, planar: &[f32]) -> RgbImage {
        let plane = self.height * self.width;
        let bands = if self.channels < 3 { [0; 3] } else { [0, 1, 2] };
        let picture = RgbImage::from_fn(self.width as u32, self.height as u32, |x, y| {
            let pixel = y as usize * self.width + x as usize;
            // The cast cuts off what is outside of the range and turns NaN into 0.
            Rgb(bands.map(|band| (planar[band * plane + pixel] * 255.0).round() as u8))
        });
        fit(picture)
    }
}

/// Enlarges or reduces a picture by a whole factor to a size good to look at.
pub(crate) fn fit(picture: RgbImage) -> RgbImage {
    let (width, height) = picture.dimensions();
    let longer = width.max(height);
    if longer < SMALLEST_CELL {
        let factor = SMALLEST_CELL.div_ceil(longer);
        imageops::resize(&picture, width * factor, height * factor, FilterType::Nearest)
    } else if longer > LARGEST_CELL {
        let factor = longer.div_ceil(LARGEST_CELL);
        let reduced = |side: u32| u32::max(side / factor, 1);
        imageops::thumbnail(&picture, reduced(width), reduced(height))
    } else {
        picture
    }
}

/// Puts header and cells, all of the same size and as many a row as there are headings, on one sheet.
pub(crate) fn compose(
    title: &str,
    notes: &[String],
    headings: &[&str],
    cells: &[Vec<RgbImage>],
) -> RgbImage {
    let (cell_width, cell_height) = cells[0][0].dimensions();
    // Narrow images still leave room for the headings.
    let column = cell_width.max(SMALLEST_CELL);
    let columns = headings.len() as u32;
    let width = 2 * MARGIN + columns * (column + GAP) - GAP;
    let header = header(title, notes, width - 2 * MARGIN);
    let header_height: u32 = header.iter().map(|(font, _)| font.line_height()).sum();
    let headings_top = MARGIN + header_height + GAP;
    let cells_top = headings_top + Font::Heading.line_height() + 2;
    let height = cells_top + cells.len() as u32 * (cell_height + GAP) - GAP + MARGIN;

    let mut sheet = RgbImage::from_pixel(width, height, PAPER);
    let mut top = MARGIN;
    for (font, line) in header {
        let ink = if matches!(font, Font::Title) { INK } else { FAINT_INK };
        font.draw(&mut sheet, (MARGIN, top), ink, &line);
        top += font.line_height();
    }
    let column_left = |i: u32| MARGIN + i * (column + GAP);
    for (heading, i) in headings.iter().zip(0..) {
        Font::Heading.draw(&mut sheet, (column_left(i), headings_top), INK, heading);
    }
    for (row, n) in cells.iter().zip(0..) {
        for (cell, i) in row.iter().zip(0..) {
            let position = (column_left(i), cells_top + n * (cell_height + GAP));
            framed(&mut sheet, cell, position);
        }
    }
    sheet
}

/// Title and notes, broken into lines that fit.
fn header(title: &str, notes: &[String], width: u32) -> Vec<(Font, String)> {
    let lines = |font: Font, text: &str| {
        wrap(text, font.columns(width)).into_iter().map(move |line| (font, line))
    };
    lines(Font::Title, title).chain(notes.iter().flat_map(|note| lines(Font::Body, note))).collect()
}

/// Draws `cell` with a thin frame around it.
fn framed(sheet: &mut RgbImage, cell: &RgbImage, (x, y): (u32, u32)) {
    let (width, height) = cell.dimensions();
    let frame = RgbImage::from_pixel(width + 2, height + 2, FRAME);
    imageops::replace(sheet, &frame, i64::from(x) - 1, i64::from(y) - 1);
    imageops::replace(sheet, cell, x.into(), y.into());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A spec and one row whose image is `level` everywhere and whose prediction is black.
    fn example(channels: usize, height: usize, width: usize) -> (ImageSpec, Reconstruction) {
        let spec = ImageSpec {
            channels,
            height,
            width,
            patch_size: 4,
            pred_downsampling: 1,
            mean: vec![0.5; channels],
            std: vec![0.25; channels],
        };
        let values = channels * height * width;
        let mask = (0..height * width / 16).map(|patch| patch % 4 != 0).collect();
        // White in the display range is 2 in the model's; black is -2.
        (spec, Reconstruction { image: vec![2.0; values], mask, pred: vec![-2.0; values] })
    }

    #[test]
    fn columns_hold_what_their_headings_say() {
        let (spec, row) = example(3, 160, 160);
        let sheet =
            reconstruction_grid("step 7", &spec, Statistics::Raw, &[row.clone(), row]).unwrap();
        let left = |i: u32| MARGIN + i * (160 + GAP);
        for row_top in [sheet.height() - MARGIN - 160, sheet.height() - MARGIN - 2 * 160 - GAP] {
            let grey = |i: u32, x: u32| sheet.get_pixel(left(i) + x, row_top).0;
            // The first patch of an image is visible, the second is hidden.
            assert_eq!([grey(0, 0), grey(0, 4)], [[255; 3], [255; 3]]);
            assert_eq!([grey(1, 0), grey(1, 4)], [[255; 3], [128; 3]]);
            assert_eq!([grey(2, 0), grey(2, 4)], [[0; 3], [0; 3]]);
            assert_eq!([grey(3, 0), grey(3, 4)], [[255; 3], [0; 3]]);
        }
        assert_eq!(*sheet.get_pixel(0, 0), PAPER);
        assert_eq!(sheet.width(), 2 * MARGIN + 4 * 160 + 3 * GAP);
    }

    #[test]
    fn a_contact_sheet_has_two_samples_a_row() {
        let (spec, row) = example(3, 160, 160);
        let sample = MaskedImage { image: row.image, mask: row.mask };
        let sheet =
            contact_sheet("data", &spec, &[sample.clone(), sample.clone(), sample]).unwrap();
        let top = sheet.height() - MARGIN - 160;
        let at = |i: u32, x: u32, y: u32| sheet.get_pixel(MARGIN + i * (160 + GAP) + x, y).0;
        // The second patch is hidden; the last row's second half is empty.
        assert_eq!([at(0, 4, top), at(1, 4, top), at(2, 4, top)], [[255; 3], [128; 3], PAPER.0]);
        assert_eq!(at(3, 4, top - 160 - GAP), [128; 3]);
        assert!(contact_sheet("none", &spec, &[]).is_err());
    }

    #[test]
    fn the_header_says_what_is_shown() {
        let (spec, row) = example(5, 32, 32);
        let share = hidden_share(&spec, [row.mask].iter());
        assert!(share.contains("75.0% of the patches of 4 x 4 pixels"), "{share}");
        assert!(bands(&spec).unwrap().contains("bands 1-3 of 5"));
    }

    #[test]
    fn any_number_of_channels_can_be_shown() {
        for channels in [1, 2, 3, 4, 13] {
            let (spec, mut row) = example(channels, 8, 8);
            row.image[64 * (channels - 1)..].fill(-2.0);
            let planar = spec.reconstruct(&row, Statistics::Raw).unwrap().original;
            let expected = match channels {
                1 => [0; 3],
                3 => [255, 255, 0],
                _ => [255; 3],
            };
            assert_eq!(spec.cell(&planar).get_pixel(0, 0).0, expected, "{channels} channels");
            reconstruction_grid("", &spec, Statistics::VisiblePatches, &[row]).unwrap();
        }
    }

    #[test]
    fn sizes_are_brought_into_range_by_whole_factors() {
        for ((width, height), expected) in [
            ((32, 32), (160, 160)),
            ((64, 48), (192, 144)),
            ((160, 8), (160, 8)),
            ((512, 300), (512, 300)),
            ((1024, 2048), (256, 512)),
            ((2048, 1), (512, 1)),
        ] {
            assert_eq!(fit(RgbImage::new(width, height)).dimensions(), expected);
        }
        let pixel = RgbImage::from_fn(2, 1, |x, _| Rgb([x as u8; 3]));
        let enlarged = fit(pixel);
        assert_eq!((enlarged.get_pixel(79, 0).0, enlarged.get_pixel(80, 0).0), ([0; 3], [1; 3]));
    }

    #[test]
    fn odd_input_is_drawn_or_refused_but_never_panics() {
        let (spec, mut row) = example(1, 4, 4);
        row.pred = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e30].repeat(4);
        let title = "a very long title \u{1f600} ".repeat(40);
        for statistics in [Statistics::Raw, Statistics::HiddenPatches, Statistics::VisiblePatches] {
            reconstruction_grid(&title, &spec, statistics, std::slice::from_ref(&row)).unwrap();
        }
        let none = reconstruction_grid("", &spec, Statistics::Raw, &[]).unwrap_err().to_string();
        assert!(none.contains("0 rows"), "{none}");
    }
}
