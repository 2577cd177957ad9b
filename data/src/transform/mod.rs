//! From a decoded image to a model's input, in torchvision's way: crop, resize, mirror, normalise.

pub mod augment;
mod byol_crop;
mod classify;
mod crop;
pub mod detection;
mod flip;
pub mod mixup;
mod normalize;
mod random_crop;
mod random_erasing;
mod resize;

pub use byol_crop::ByolCrop;
pub use classify::ClassifyTransform;
pub use crop::{CropBox, EvalCrop, RandomResizedCrop, crop};
pub use flip::HorizontalFlip;
pub use normalize::{IMAGENET_MEAN, IMAGENET_STD, Normalize};
pub use random_crop::RandomCrop;
pub use random_erasing::{Erase, RandomErasing};
pub use resize::{Filter, crop_resize, crop_resize_with};

use rand::RngCore;

use crate::error::{Error, Result};
use crate::image::Planar;
use crate::picture::Picture;
pub use crate::size::Size;
use crate::source::Target;

/// From a decoded image to a model's input.
pub trait Transform: Send + Sync {
    /// Transforms a picture and appends its planes, `[channels, height, width]`, to `pixels`; gives these three sizes.
    /// All that is random is drawn from `rng`.
    ///
    /// # Errors
    /// What decoding refuses; [`Error::Channels`] or [`Error::Shape`] if the image is not what the transform was made
    /// for.
    fn append(
        &self,
        picture: &Picture,
        rng: &mut dyn RngCore,
        pixels: &mut Vec<f32>,
    ) -> Result<[usize; 3]>;

    /// As [`append`](Self::append), with what is to be learnt about the picture, and gives that too: boxes and outlines
    /// move with the pixels. By default it stays as it is.
    ///
    /// # Errors
    /// See [`append`](Self::append).
    fn append_with(
        &self,
        picture: &Picture,
        target: Target,
        rng: &mut dyn RngCore,
        pixels: &mut Vec<f32>,
    ) -> Result<([usize; 3], Target)> {
        Ok((self.append(picture, rng, pixels)?, target))
    }

    /// Transforms a picture to `[channels, height, width]`.
    ///
    /// # Errors
    /// See [`append`](Self::append).
    fn apply(&self, picture: &Picture, rng: &mut dyn RngCore) -> Result<Planar> {
        let mut data = Vec::new();
        let [channels, height, width] = self.append(picture, rng, &mut data)?;
        Ok(Planar { channels, height, width, data })
    }
}

/// What training sees: a random resized crop, mirrored half of the time, normalised.
#[derive(Clone, Debug)]
pub struct TrainTransform {
    /// The size of the result.
    pub size: Size,
    /// The crop, or `None` to resize the whole image, whatever its shape: for satellite or medical images.
    pub crop: Option<RandomCrop>,
    /// The mirroring, or `None`.
    pub flip: Option<HorizontalFlip>,
    /// Mean and standard deviation.
    pub normalize: Normalize,
}

impl TrainTransform {
    /// MAE's: [`RandomResizedCrop::default`] and mirroring.
    pub fn new(size: Size, normalize: Normalize) -> Self {
        let (crop, flip) =
            (Some(RandomResizedCrop::default().into()), Some(HorizontalFlip::default()));
        Self { size, crop, flip, normalize }
    }
}

impl Transform for TrainTransform {
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
        let image = crop_resize(&region.image, region.area, self.size)?;
        let mirrored = self.flip.as_ref().is_some_and(|flip| flip.draw(rng));
        self.normalize.append(&image, mirrored, pixels)?;
        Ok([image.channels, image.height, image.width])
    }
}

/// What validation sees: the middle of the image, normalised. Nothing is random.
#[derive(Clone, Debug)]
pub struct EvalTransform {
    /// The size of the result.
    pub size: Size,
    /// The crop, or `None` to resize the whole image, whatever its shape.
    pub crop: Option<EvalCrop>,
    /// Mean and standard deviation.
    pub normalize: Normalize,
}

impl EvalTransform {
    /// The usual one: [`EvalCrop::default`].
    pub fn new(size: Size, normalize: Normalize) -> Self {
        Self { size, crop: Some(EvalCrop::default()), normalize }
    }
}

impl Transform for EvalTransform {
    fn append(
        &self,
        picture: &Picture,
        _rng: &mut dyn RngCore,
        pixels: &mut Vec<f32>,
    ) -> Result<[usize; 3]> {
        let image = picture.image()?;
        let image = match &self.crop {
            Some(crop) => crop.apply(image, self.size)?,
            None => crop_resize(image, CropBox::whole(image), self.size)?,
        };
        self.normalize.append(&image, false, pixels)?;
        Ok([image.channels, image.height, image.width])
    }
}

/// An error unless `low <= high` are both finite and above `above`.
fn check_range(name: &'static str, (low, high): (f64, f64), above: f64) -> Result<()> {
    if low > above && low <= high && high.is_finite() {
        return Ok(());
    }
    let expected = format!("two numbers above {above}, the smaller one first");
    Err(Error::Setting { name, found: format!("{low} to {high}"), expected })
}
