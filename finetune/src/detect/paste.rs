use super::boxes::{Corners, sides};

/// The pixels of an image of `(rows, cols)` that a square mask over a box covers: a pixel counts if the mask at its centre, bilinear
/// between its own centres and zero outside, is at least a half (detectron2's `paste_masks_in_image`).
pub fn paste(mask: &[f32], corners: Corners, (rows, cols): (usize, usize)) -> Vec<bool> {
    let side = mask.len().isqrt();
    assert_eq!(side * side, mask.len(), "a mask that is no square");
    let (width, height) = sides(corners);
    let col_taps = taps(corners[0], width, side, cols);
    let row_taps = taps(corners[1], height, side, rows);
    // Most of an image is far from the box.
    let touched = |taps: &[(usize, f32); 2]| taps.iter().any(|(_, weight)| *weight != 0.0);
    let first = col_taps.iter().position(touched).unwrap_or(cols);
    let last = col_taps.iter().rposition(touched).map_or(0, |last| last + 1);
    let mut pixels = vec![false; rows * cols];
    for (row, [low, high]) in row_taps.iter().enumerate() {
        if low.1 == 0.0 && high.1 == 0.0 {
            continue;
        }
        for (col, across) in col_taps.iter().enumerate().take(last).skip(first) {
            let line = |row: usize| {
                across.iter().map(|(col, weight)| weight * mask[row * side + col]).sum::<f32>()
            };
            pixels[row * cols + col] = low.1 * line(low.0) + high.1 * line(high.0) >= 0.5;
        }
    }
    pixels
}

/// For each pixel of a line, two places of the mask's and their weights, zero outside.
fn taps(start: f32, length: f32, side: usize, pixels: usize) -> Vec<[(usize, f32); 2]> {
    let of = |pixel: usize| {
        let place = (pixel as f32 + 0.5 - start) / length * side as f32 - 0.5;
        let low = place.floor();
        let tap = |place: f32, weight: f32| {
            let inside = (0.0..side as f32).contains(&place);
            if inside { (place as usize, weight) } else { (0, 0.0) }
        };
        [tap(low, 1.0 - (place - low)), tap(low + 1.0, place - low)]
    };
    (0..pixels).map(of).collect()
}
