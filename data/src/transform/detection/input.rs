//! What a detector gets: images of one size, normalised and then filled up with zeros to the right and below.

use rand::RngCore;

use super::{Detection, LargeScaleJitter, Motion, ResizeShortestEdge, check_size};
use crate::error::{Error, Result};
use crate::image::Image;
use crate::instances::Instances;
use crate::picture::Picture;
use crate::source::Target;
use crate::transform::{Normalize, Size, Transform};

/// What a detector is trained on, as ViTDet is: [`LargeScaleJitter`], whose crop is filled up after normalising.
///
/// The target's size is then that of the image without what was filled up.
#[derive(Clone, Debug)]
pub struct DetectionTraining {
    /// The jitter; its crop is not filled up.
    jitter: LargeScaleJitter,
    /// Mean and standard deviation.
    normalize: Normalize,
}

impl DetectionTraining {
    /// Jitter and normalisation.
    pub fn new(mut jitter: LargeScaleJitter, normalize: Normalize) -> Self {
        jitter.crop.pad = None;
        Self { jitter, normalize }
    }
}

impl Transform for DetectionTraining {
    /// As if there were no objects.
    fn append(
        &self,
        picture: &Picture,
        rng: &mut dyn RngCore,
        pixels: &mut Vec<f32>,
    ) -> Result<[usize; 3]> {
        let none = Instances { size: picture.size()?, list: [].into() };
        Ok(self.append_with(picture, Target::Instances(none), rng, pixels)?.0)
    }

    fn append_with(
        &self,
        picture: &Picture,
        target: Target,
        rng: &mut dyn RngCore,
        pixels: &mut Vec<f32>,
    ) -> Result<([usize; 3], Target)> {
        let Target::Instances(instances) = target else {
            return Err(Error::Setting {
                name: "target of a detector",
                found: "an image of which no objects are known".into(),
                expected: "annotations with boxes".into(),
            });
        };
        let Detection { image, instances } =
            self.jitter.apply(Detection::new(picture, instances)?, rng)?;
        let shape = append_filled(&self.normalize, &image, self.jitter.crop.size, pixels)?;
        Ok((shape, Target::Instances(instances)))
    }
}

/// What a detector is evaluated on, as ViTDet is: the image is made as large as fits into a square. The target stays as it is,
/// in pixels of the whole image.
#[derive(Clone, Debug)]
pub struct DetectionEval {
    side: usize,
    resize: ResizeShortestEdge,
    normalize: Normalize,
}

impl DetectionEval {
    /// A square of this side.
    ///
    /// # Errors
    /// [`Error::Setting`] if it is 0.
    pub fn new(side: usize, normalize: Normalize) -> Result<Self> {
        Ok(Self { side, resize: ResizeShortestEdge::new(side, side)?, normalize })
    }

    /// The size that an image gets; what is right of it and below is filled up.
    pub fn content(&self, image: Size) -> Size {
        self.resize.size(image)
    }
}

impl Transform for DetectionEval {
    fn append(
        &self,
        picture: &Picture,
        _rng: &mut dyn RngCore,
        pixels: &mut Vec<f32>,
    ) -> Result<[usize; 3]> {
        let image = picture.image()?;
        let size = self.content(Size { height: image.height, width: image.width });
        let image = Motion::Resize(size).image(image.clone())?;
        let square = Size { height: self.side, width: self.side };
        append_filled(&self.normalize, &image, square, pixels)
    }

    /// An error if the image is not of the size that its annotations say.
    fn append_with(
        &self,
        picture: &Picture,
        target: Target,
        rng: &mut dyn RngCore,
        pixels: &mut Vec<f32>,
    ) -> Result<([usize; 3], Target)> {
        if let Target::Instances(instances) = &target {
            check_size(picture.image()?, instances.size)?;
        }
        Ok((self.append(picture, rng, pixels)?, target))
    }
}

/// Appends the normalised planes of an image, each filled up to a size; gives the planes' sizes.
fn append_filled(
    normalize: &Normalize,
    image: &Image,
    to: Size,
    pixels: &mut Vec<f32>,
) -> Result<[usize; 3]> {
    let planes = normalize.apply(image)?;
    let end = pixels.len() + planes.channels * to.height * to.width;
    pixels.reserve_exact(end - pixels.len());
    for plane in planes.data.chunks_exact(planes.height * planes.width) {
        let plane_end = pixels.len() + to.height * to.width;
        for row in plane.chunks_exact(planes.width) {
            let row_end = pixels.len() + to.width;
            pixels.extend_from_slice(row);
            pixels.resize(row_end, 0.0);
        }
        pixels.resize(plane_end, 0.0);
    }
    Ok([planes.channels, to.height, to.width])
}
