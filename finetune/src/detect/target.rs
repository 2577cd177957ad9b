use std::sync::Arc;

use super::boxes::{Corners, has_inside};
use crate::{Error, Result};

/// The true objects of an image.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Target {
    /// Where they are, in pixels of the model's input.
    pub boxes: Vec<Corners>,
    /// What they are, counted from 0.
    pub classes: Vec<u32>,
    /// Their outlines, one each, or none at all for a detector without masks.
    pub masks: Vec<Bitmap>,
}

/// A mask of a whole image.
#[derive(Debug, Clone, PartialEq)]
pub struct Bitmap {
    /// Rows and columns.
    pub size: (usize, usize),
    /// 1 for the object and 0 for what is around it, row by row.
    pub pixels: Arc<[u8]>,
}

impl Target {
    /// Checks that the parts belong together.
    ///
    /// # Errors
    /// When there are not as many of each, a class is not below their number, a box has no inside or a mask another size than
    /// it says.
    pub(super) fn check(&self, classes: usize, masks: bool) -> Result<()> {
        let wrong =
            |name, found: String, expected: String| Err(Error::Setting { name, found, expected });
        let count = self.boxes.len();
        if self.classes.len() != count {
            let expected = format!("{count}, one for each box");
            return wrong("number of classes", self.classes.len().to_string(), expected);
        }
        if masks && self.masks.len() != count {
            let expected = format!("{count}, one for each box");
            return wrong("number of masks", self.masks.len().to_string(), expected);
        }
        if let Some(class) = self.classes.iter().find(|class| **class as usize >= classes) {
            return Err(Error::label(*class, classes));
        }
        let finite = |corners: &Corners| corners.iter().all(|x| x.is_finite());
        if let Some(corners) = self.boxes.iter().find(|x| !finite(x) || !has_inside(**x)) {
            return wrong("true box", format!("{corners:?}"), "corners with an inside".to_owned());
        }
        for Bitmap { size: (rows, cols), pixels } in &self.masks {
            if pixels.len() != rows * cols {
                let expected = format!("{rows} x {cols}");
                return wrong("number of a mask's pixels", pixels.len().to_string(), expected);
            }
        }
        Ok(())
    }
}
