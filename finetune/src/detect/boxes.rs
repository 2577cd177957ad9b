//! Boxes as their upper left and lower right corners `[x1, y1, x2, y2]` in pixels, whose sides are `x2 - x1` and `y2 - y1`.

use candle_core::{D, Tensor};

use crate::Result;

/// A box: `[x1, y1, x2, y2]`.
pub type Corners = [f32; 4];

/// Width and height.
pub fn sides([x1, y1, x2, y2]: Corners) -> (f32, f32) {
    (x2 - x1, y2 - y1)
}

/// Width times height.
pub fn area(corners: Corners) -> f32 {
    let (width, height) = sides(corners);
    width * height
}

/// The area that two boxes share.
fn shared(a: Corners, b: Corners) -> f32 {
    let width = (a[2].min(b[2]) - a[0].max(b[0])).max(0.0);
    let height = (a[3].min(b[3]) - a[1].max(b[1])).max(0.0);
    width * height
}

/// Intersection over union, 0 where nothing is shared.
pub fn iou(a: Corners, b: Corners) -> f32 {
    let shared = shared(a, b);
    if shared > 0.0 { shared / (area(a) + area(b) - shared) } else { 0.0 }
}

/// The part of a box inside an image of `(height, width)` pixels.
pub fn clip([x1, y1, x2, y2]: Corners, (height, width): (usize, usize)) -> Corners {
    let (width, height) = (width as f32, height as f32);
    [x1.clamp(0.0, width), y1.clamp(0.0, height), x2.clamp(0.0, width), y2.clamp(0.0, height)]
}

/// Whether a box has an inside.
pub fn has_inside(corners: Corners) -> bool {
    let (width, height) = sides(corners);
    width > 0.0 && height > 0.0
}

/// Boxes as a tensor `[n, 4]`.
pub(super) fn tensor(boxes: &[Corners], like: &Tensor) -> Result<Tensor> {
    Ok(Tensor::from_vec(boxes.concat(), (boxes.len(), 4), like.device())?)
}

/// The sum over pairs of boxes of 1 less their generalised intersection over union (arXiv 1902.09630), as fvcore has it.
///
/// # Shapes
/// `found` and `expected` `[n, 4]`; gradients reach `found`.
///
/// # Errors
/// When the shapes differ.
pub fn giou_loss(found: &Tensor, expected: &Tensor) -> Result<Tensor> {
    const EPS: f64 = 1e-7;
    let side = |x: &Tensor, i: usize| x.narrow(D::Minus1, i, 1);
    let area = |x: &Tensor| (side(x, 2)? - side(x, 0)?)? * (side(x, 3)? - side(x, 1)?)?;
    let low = found.minimum(expected)?;
    let high = found.maximum(expected)?;
    let shared_width = (side(&low, 2)? - side(&high, 0)?)?.relu()?;
    let shared_height = (side(&low, 3)? - side(&high, 1)?)?.relu()?;
    let shared = (shared_width * shared_height)?;
    let union = ((area(found)? + area(expected)?)? - &shared)?;
    let around = ((side(&high, 2)? - side(&low, 0)?)? * (side(&high, 3)? - side(&low, 1)?)?)?;
    let iou = shared.div(&(&union + EPS)?)?;
    let empty = (&around - &union)?.div(&(around + EPS)?)?;
    let giou = (iou - empty)?;
    Ok((giou.neg()? + 1.0)?.sum_all()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlaps_by_hand() {
        let a = [0.0, 0.0, 4.0, 4.0];
        assert_eq!(iou(a, [2.0, 2.0, 6.0, 6.0]), 4.0 / 28.0);
        assert_eq!(iou(a, [4.0, 0.0, 8.0, 4.0]), 0.0);
        assert_eq!(iou(a, a), 1.0);
        assert_eq!(clip([-3.0, 2.0, 9.0, 99.0], (10, 8)), [0.0, 2.0, 8.0, 10.0]);
        assert!(!has_inside([1.0, 1.0, 1.0, 5.0]));
    }
}
