//! What training a classifier sees.

use rand::RngCore;

use super::augment::Augment;
use super::{
    CropBox, HorizontalFlip, Normalize, RandomCrop, RandomErasing, RandomResizedCrop, Size,
    Transform, crop_resize,
};
use crate::error::{Error, Result};
use crate::picture::Picture;

/// What training a classifier sees, in timm's order: a random resized crop, mirrored half of the time, its colours and shapes
/// changed, normalised, parts of it erased.
#[derive(Clone, Debug)]
pub struct ClassifyTransform {
    size: Size,
    crop: Option<RandomCrop>,
    flip: Option<HorizontalFlip>,
    augment: Option<Augment>,
    normalize: Normalize,
    erase: Option<RandomErasing>,
}

impl ClassifyTransform {
    /// [`RandomResizedCrop::classification`] and mirroring alone, as for linear probes.
    pub fn new(size: Size, normalize: Normalize) -> Self {
        let crop = Some(RandomResizedCrop::classification().into());
        let flip = Some(HorizontalFlip::default());
        Self { size, crop, flip, augment: None, normalize, erase: None }
    }

    /// Another crop; `None` resizes the whole image, whatever its shape.
    #[must_use]
    pub fn with_crop(mut self, crop: Option<RandomCrop>) -> Self {
        self.crop = crop;
        self
    }

    /// Other mirroring, or none.
    #[must_use]
    pub fn with_flip(mut self, flip: Option<HorizontalFlip>) -> Self {
        self.flip = flip;
        self
    }

    /// Changes colours and shapes, as [`Augment::for_training`].
    ///
    /// # Errors
    /// [`Error::Setting`] if the images have other than 1 or 3 channels.
    pub fn with_augment(mut self, augment: Augment) -> Result<Self> {
        let channels = self.normalize.mean().len();
        if ![1, 3].contains(&channels) {
            return Err(Error::Setting {
                name: "augmentation",
                found: format!("of images of {channels} channels"),
                expected: "expected 1 or 3 channels, of 8 bits".into(),
            });
        }
        self.augment = Some(augment.for_training(&self.normalize));
        Ok(self)
    }

    /// Erases parts of normalised images.
    #[must_use]
    pub fn with_erasing(mut self, erase: RandomErasing) -> Self {
        self.erase = Some(erase);
        self
    }
}

impl Transform for ClassifyTransform {
    fn append(
        &self,
        picture: &Picture,
        rng: &mut dyn RngCore,
        pixels: &mut Vec<f32>,
    ) -> Result<[usize; 3]> {
        let Size { height, width } = picture.size()?;
        let area = match &self.crop {
            Some(crop) => crop.params(height, width, rng),
            None => CropBox { top: 0, left: 0, height, width },
        };
        let region = picture.region(area, self.size)?;
        let mut image = crop_resize(&region.image, region.area, self.size)?;
        let mut mirrored = self.flip.as_ref().is_some_and(|flip| flip.draw(rng));
        if let Some(augment) = &self.augment {
            // Mirrored before its shape is changed, or the changes would be mirrored too.
            if std::mem::take(&mut mirrored) {
                super::flip::mirror(&mut image);
            }
            image = augment.apply(&image, rng)?;
        }
        let start = pixels.len();
        self.normalize.append(&image, mirrored, pixels)?;
        if let Some(erase) = &self.erase {
            erase.erase(&mut pixels[start..], (image.height, image.width), rng);
        }
        Ok([image.channels, image.height, image.width])
    }
}
