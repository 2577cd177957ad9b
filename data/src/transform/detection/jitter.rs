//! What detectors are trained on.

use rand::RngCore;

use super::{Detection, FixedSizeCrop, Motion, ResizeScale};
use crate::error::Result;
use crate::transform::{HorizontalFlip, Size};

/// Large-scale jitter, as detectron2 has it for ViTDet: mirrored half of the time, resized by a factor of 0.1 to 2 of
/// the target, cropped to the target.
#[derive(Clone, Debug)]
pub struct LargeScaleJitter {
    /// The mirroring, or `None`.
    pub flip: Option<HorizontalFlip>,
    /// The resizing.
    pub resize: ResizeScale,
    /// The crop.
    pub crop: FixedSizeCrop,
    /// Whether boxes are drawn anew around what the crop leaves of the outlines, see [`Detection::settled`].
    pub recompute_boxes: bool,
    /// Whether crowds are kept.
    pub keep_crowds: bool,
}

impl LargeScaleJitter {
    /// The usual one, for images of 1024 x 1024 in the paper. Smaller images are filled up with grey, 128, which is
    /// detectron2's default; ViTDet's configuration has no `pad`, so that the model itself fills up after normalising.
    ///
    /// # Errors
    /// [`Error::Setting`](crate::Error::Setting) if a side of the target is 0.
    pub fn new(target: Size) -> Result<Self> {
        let target = Size::new(target.height, target.width)?;
        Ok(Self {
            flip: Some(HorizontalFlip::default()),
            resize: ResizeScale::new((0.1, 2.0), target)?,
            crop: FixedSizeCrop { size: target, pad: Some(128) },
            recompute_boxes: true,
            keep_crowds: false,
        })
    }

    /// Draws, and changes an image and its objects; those of which nothing is left are left out.
    ///
    /// # Errors
    /// See [`Motion`].
    pub fn apply(&self, mut detection: Detection, rng: &mut dyn RngCore) -> Result<Detection> {
        if self.flip.as_ref().is_some_and(|flip| flip.draw(rng)) {
            detection = detection.moved(&Motion::Flip)?;
        }
        let size = self.resize.draw(detection.instances.size, rng);
        detection = detection.moved(&Motion::Resize(size))?;
        let window = self.crop.draw(size, rng);
        detection = detection.moved(&window)?;
        if let Some(padding) = self.crop.padding() {
            detection = detection.moved(&padding)?;
        }
        Ok(detection.settled(self.recompute_boxes, self.keep_crowds))
    }
}
