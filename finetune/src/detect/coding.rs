use candle_core::Tensor;

use super::boxes::{Corners, sides};
use crate::Result;

/// Boxes as differences from other boxes: shifts of the centre in widths and heights, and logarithms of the sides' ratios,
/// each times a weight (arXiv 1311.2524, appendix C; detectron2's `Box2BoxTransform`).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BoxCoding {
    /// Of x, y, width and height.
    pub weights: [f32; 4],
}

/// Largest logarithm of a side's ratio when decoding, so that no exponential overflows: boxes of 16 pixels become 1000.
const LARGEST: f32 = 4.135_166_6;

/// Width, height and centre.
fn centred(corners: Corners) -> [f32; 4] {
    let (width, height) = sides(corners);
    [width, height, corners[0] + 0.5 * width, corners[1] + 0.5 * height]
}

impl BoxCoding {
    /// Region proposals': all weights 1.
    pub const PROPOSALS: Self = Self { weights: [1.0; 4] };
    /// The box head's.
    pub const HEAD: Self = Self { weights: [10.0, 10.0, 5.0, 5.0] };
    /// Those of the three stages of a cascade.
    pub const CASCADE: [Self; 3] = [
        Self::HEAD,
        Self { weights: [20.0, 20.0, 10.0, 10.0] },
        Self { weights: [30.0, 30.0, 15.0, 15.0] },
    ];

    /// How `from` becomes `to`. Both must have an inside.
    pub fn encode(&self, from: Corners, to: Corners) -> [f32; 4] {
        let [width, height, x, y] = centred(from);
        let [to_width, to_height, to_x, to_y] = centred(to);
        let [of_x, of_y, of_width, of_height] = self.weights;
        [
            of_x * (to_x - x) / width,
            of_y * (to_y - y) / height,
            of_width * (to_width / width).ln(),
            of_height * (to_height / height).ln(),
        ]
    }

    /// What `from` becomes by these differences.
    pub fn decode(&self, from: Corners, differences: [f32; 4]) -> Corners {
        let [width, height, x, y] = centred(from);
        let [of_x, of_y, of_width, of_height] = self.weights;
        let [dx, dy, dw, dh] = differences;
        let (x, y) = (dx / of_x * width + x, dy / of_y * height + y);
        let width = (dw / of_width).min(LARGEST).exp() * width;
        let height = (dh / of_height).min(LARGEST).exp() * height;
        [x - 0.5 * width, y - 0.5 * height, x + 0.5 * width, y + 0.5 * height]
    }

    /// [`BoxCoding::decode`] of tensors `[n, 4]`, differentiable by the differences.
    ///
    /// # Errors
    /// When there are not as many differences as boxes.
    pub fn decode_tensor(&self, from: &[Corners], differences: &Tensor) -> Result<Tensor> {
        let column =
            |values: Vec<f32>| Tensor::from_vec(values, (from.len(), 1), differences.device());
        let part = |i: usize| column(from.iter().map(|corners| centred(*corners)[i]).collect());
        let difference = |i: usize| differences.narrow(1, i, 1)? / f64::from(self.weights[i]);
        let side = |i: usize| part(i)? * difference(2 + i)?.minimum(LARGEST)?.exp()?;
        let centre = |i: usize| (difference(i)? * part(i)?)? + part(2 + i)?;
        let (half_width, half_height) = ((side(0)? * 0.5)?, (side(1)? * 0.5)?);
        let (x, y) = (centre(0)?, centre(1)?);
        let corners =
            [(&x - &half_width)?, (&y - &half_height)?, (x + half_width)?, (y + half_height)?];
        Ok(Tensor::cat(&corners, 1)?)
    }
}
