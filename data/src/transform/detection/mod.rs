//! Images with their objects, changed together, as detectron2 does it for ViTDet: mirrored, resized at random over a
//! wide range, and cropped to a fixed size.
//!
//! ```
//! use longmae_data::rng::{Purpose, stream};
//! use longmae_data::transform::detection::{Detection, LargeScaleJitter};
//! use longmae_data::{DecodeOptions, Demo, Instances, Size, Source};
//!
//! # fn main() -> longmae_data::Result<()> {
//! let sample = Demo::new(DecodeOptions::default()).get(0)?;
//! let instances = Instances { size: sample.picture.size()?, list: [].into() };
//! let detection = Detection::new(&sample.picture, instances)?;
//! let jitter = LargeScaleJitter::new(Size::square(256)?)?;
//! let detection = jitter.apply(detection, &mut stream(0, 0, 0, Purpose::Augment))?;
//! assert_eq!((detection.image.height, detection.image.width), (256, 256));
//! # Ok(())
//! # }
//! ```

mod clip;
mod crop;
mod input;
mod jitter;
mod mask;
mod motion;
mod resize;

pub use crop::FixedSizeCrop;
pub use input::{DetectionEval, DetectionTraining};
pub use jitter::LargeScaleJitter;
pub use motion::Motion;
pub use resize::{ResizeScale, ResizeShortestEdge};

use crate::error::{Error, Result};
use crate::image::Image;
use crate::instances::{Instance, Instances, Segmentation};
use crate::picture::Picture;
use crate::transform::Size;

/// Boxes that are not wider and higher than this are empty, as in detectron2.
const EMPTY: f64 = 1e-5;

/// An image with its objects.
#[derive(Clone, Debug, PartialEq)]
pub struct Detection {
    /// The image.
    pub image: Image,
    /// Its objects. Their boxes may reach out of the image until they are [settled](Self::settled). An object's area
    /// follows resizing, but not cropping: it is that of the whole object.
    pub instances: Instances,
}

impl Detection {
    /// Decodes an image, to go with its objects.
    ///
    /// # Errors
    /// What decoding refuses, and [`Error::SizesDiffer`] if the image is not of the size that its annotations say.
    pub fn new(picture: &Picture, instances: Instances) -> Result<Self> {
        let image = picture.image()?.clone();
        check_size(&image, instances.size)?;
        Ok(Self { image, instances })
    }

    /// The image and its objects after a motion.
    ///
    /// # Errors
    /// See [`Motion`].
    pub fn moved(self, motion: &Motion) -> Result<Self> {
        let from = self.instances.size;
        let image = motion.image(self.image)?;
        let size = Size::new(image.height, image.width)?;
        let moved = |one: &Instance| motion.instance(one, from);
        let list = self.instances.list.iter().map(moved).collect::<Result<_>>()?;
        Ok(Self { image, instances: Instances { size, list } })
    }

    /// Clips boxes to the image and leaves out objects without a visible part, as detectron2's
    /// `transform_instance_annotations` and `filter_empty_instances` do: those whose box or whose outline is empty.
    ///
    /// With `recompute`, boxes are first drawn anew around what is left of the outlines. Crowds are left out unless
    /// `keep_crowds`.
    pub fn settled(mut self, recompute: bool, keep_crowds: bool) -> Self {
        let size = self.instances.size;
        let visible = |one: &Instance| {
            let mut one = one.clone();
            one.bbox = match (&one.segmentation, recompute) {
                (Some(segmentation), true) => tight_box(segmentation),
                _ => clipped(one.bbox, size),
            };
            let kept = (keep_crowds || !one.crowd)
                && one.bbox[2] > EMPTY
                && one.bbox[3] > EMPTY
                && !one.segmentation.as_ref().is_some_and(is_empty);
            kept.then_some(one)
        };
        self.instances.list = self.instances.list.iter().filter_map(visible).collect();
        self
    }
}

fn check_size(image: &Image, expected: Size) -> Result<()> {
    if (image.height, image.width) == (expected.height, expected.width) {
        return Ok(());
    }
    Err(Error::SizesDiffer {
        height: image.height,
        width: image.width,
        expected_height: expected.height,
        expected_width: expected.width,
    })
}

fn clipped([x, y, width, height]: [f64; 4], size: Size) -> [f64; 4] {
    let (most_x, most_y) = (size.width as f64, size.height as f64);
    let (left, right) = (x.clamp(0.0, most_x), (x + width).clamp(0.0, most_x));
    let (top, bottom) = (y.clamp(0.0, most_y), (y + height).clamp(0.0, most_y));
    [left, top, right - left, bottom - top]
}

/// The box around an outline; without one, an empty box.
fn tight_box(segmentation: &Segmentation) -> [f64; 4] {
    let polygons = match segmentation {
        Segmentation::Mask(mask) => return mask.bbox(),
        Segmentation::Polygons(polygons) => polygons,
    };
    let (mut low, mut high) = ([f64::INFINITY; 2], [0.0_f64; 2]);
    for point in polygons.iter().flat_map(|polygon| polygon.chunks_exact(2)) {
        for axis in 0..2 {
            (low[axis], high[axis]) = (low[axis].min(point[axis]), high[axis].max(point[axis]));
        }
    }
    match low[0].is_finite() {
        true => [low[0], low[1], high[0] - low[0], high[1] - low[1]],
        false => [0.0; 4],
    }
}

fn is_empty(segmentation: &Segmentation) -> bool {
    match segmentation {
        Segmentation::Polygons(polygons) => polygons.is_empty(),
        Segmentation::Mask(mask) => mask.area() == 0,
    }
}
