//! The sizes that images are resized to.

use rand::{Rng, RngCore};

use super::{Detection, Motion};
use crate::error::{Error, Result};
use crate::transform::{Size, check_range};

/// A size drawn at random, as detectron2's `ResizeScale`: the image fits into a target made larger or smaller by a
/// factor, and keeps its shape.
#[derive(Clone, Debug, PartialEq)]
pub struct ResizeScale {
    scale: (f64, f64),
    target: Size,
}

impl ResizeScale {
    /// Factors within `scale`, of the size `target`.
    ///
    /// # Errors
    /// [`Error::Setting`] if the factors are not two numbers above 0, the smaller one first.
    pub fn new(scale: (f64, f64), target: Size) -> Result<Self> {
        check_range("resize scale", scale, 0.0)?;
        Ok(Self { scale, target })
    }

    /// Draws the size for an image of size `from`.
    pub fn draw(&self, from: Size, rng: &mut dyn RngCore) -> Size {
        self.size(from, rng.random_range(self.scale.0..=self.scale.1))
    }

    /// The size for an image of size `from`, with the factor `scale`.
    pub fn size(&self, from: Size, scale: f64) -> Size {
        let (height, width) = (from.height as f64, from.width as f64);
        let factor = (self.target.height as f64 * scale / height)
            .min(self.target.width as f64 * scale / width);
        let side = |side: f64| ((side * factor).round_ties_even() as usize).max(1);
        Size { height: side(height), width: side(width) }
    }
}

/// The size for evaluation, as detectron2's `ResizeShortestEdge`: the shorter side gets a given length, unless the
/// longer one would become too long.
#[derive(Clone, Debug, PartialEq)]
pub struct ResizeShortestEdge {
    short: usize,
    longest: usize,
}

impl ResizeShortestEdge {
    /// `short` pixels for the shorter side, at most `longest` for the longer one. ViTDet has 1024 for both.
    ///
    /// # Errors
    /// [`Error::Setting`] if either is 0.
    pub fn new(short: usize, longest: usize) -> Result<Self> {
        if short == 0 || longest == 0 {
            let expected = "both lengths must be at least 1".into();
            let found = format!("{short}, at most {longest}");
            return Err(Error::Setting { name: "shortest edge", found, expected });
        }
        Ok(Self { short, longest })
    }

    /// The size for an image of size `from`.
    pub fn size(&self, from: Size) -> Size {
        let (height, width) = (from.height as f64, from.width as f64);
        let short = self.short as f64;
        let scale = short / height.min(width);
        let (mut height, mut width) =
            if height < width { (short, scale * width) } else { (scale * height, short) };
        let (longer, longest) = (height.max(width), self.longest as f64);
        if longer > longest {
            let scale = longest / longer;
            (height, width) = (height * scale, width * scale);
        }
        let side = |side: f64| ((side + 0.5) as usize).max(1);
        Size { height: side(height), width: side(width) }
    }

    /// Resizes an image and its objects.
    ///
    /// # Errors
    /// See [`Motion`].
    pub fn apply(&self, detection: Detection) -> Result<Detection> {
        let size = self.size(detection.instances.size);
        detection.moved(&Motion::Resize(size))
    }
}
