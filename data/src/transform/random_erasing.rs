//! Random erasing (arXiv 1708.04896) as timm has it.

use std::str::FromStr;

use rand::{Rng, RngCore};
use rand_distr::StandardNormal;

use super::byol_crop::{between, place};
use super::{CropBox, check_range};
use crate::error::{Error, Result};
use crate::image::Planar;

/// What takes the place of what is erased.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Erase {
    /// Zero, the mean of normalised images; timm's `const`.
    #[default]
    Zero,
    /// A normally distributed number a box and channel; timm's `rand`.
    Colour,
    /// A normally distributed number a pixel and channel; timm's `pixel`.
    Noise,
}

impl FromStr for Erase {
    type Err = Error;

    /// By timm's names.
    ///
    /// # Errors
    /// [`Error::Setting`] for any other name.
    fn from_str(name: &str) -> Result<Self> {
        match name {
            "const" => Ok(Self::Zero),
            "rand" => Ok(Self::Colour),
            "pixel" => Ok(Self::Noise),
            other => Err(Error::Setting {
                name: "random erasing mode",
                found: other.into(),
                expected: "expected const, rand or pixel".into(),
            }),
        }
    }
}

/// Erases boxes from normalised images.
#[derive(Clone, Debug, PartialEq)]
pub struct RandomErasing {
    probability: f64,
    erase: Erase,
    area: (f64, f64),
    aspect: (f64, f64),
    count: (usize, usize),
}

impl RandomErasing {
    /// With this probability, one box of 0.02 to 1/3 of the image's area, 0.3 to 1/0.3 as high as wide.
    ///
    /// # Errors
    /// [`Error::Setting`] if the probability is not between 0 and 1.
    pub fn new(probability: f64, erase: Erase) -> Result<Self> {
        if !(0.0..=1.0).contains(&probability) {
            return Err(Error::Setting {
                name: "random erasing",
                found: probability.to_string(),
                expected: "a probability between 0 and 1".into(),
            });
        }
        let (area, aspect) = ((0.02, 1.0 / 3.0), (0.3, 1.0 / 0.3));
        Ok(Self { probability, erase, area, aspect, count: (1, 1) })
    }

    /// As many boxes as this an image, at least and at most; each is the smaller, the more there are.
    ///
    /// # Errors
    /// [`Error::Setting`] if the numbers are not at least 1 and in order.
    pub fn with_count(mut self, least: usize, most: usize) -> Result<Self> {
        if least == 0 || most < least {
            return Err(Error::Setting {
                name: "random erasing count",
                found: format!("{least} to {most}"),
                expected: "two numbers of at least 1, the smaller one first".into(),
            });
        }
        self.count = (least, most);
        Ok(self)
    }

    /// Boxes of other sizes, in shares of the image's area, and other shapes, in heights divided by widths.
    ///
    /// # Errors
    /// [`Error::Setting`] if the numbers are not above 0 and in order.
    pub fn with_sizes(mut self, area: (f64, f64), aspect: (f64, f64)) -> Result<Self> {
        check_range("random erasing area", area, 0.0)?;
        check_range("random erasing aspect", aspect, 0.0)?;
        (self.area, self.aspect) = (area, aspect);
        Ok(self)
    }

    /// Draws the boxes for an image of this size. One that is not smaller than the image is tried ten times, then left
    /// out.
    pub fn draw(&self, height: usize, width: usize, rng: &mut dyn RngCore) -> Vec<CropBox> {
        if !rng.random_bool(self.probability) {
            return Vec::new();
        }
        let count = rng.random_range(self.count.0..=self.count.1);
        let one = |_| (0..10).find_map(|_| self.at(height, width, count, rng.random()));
        (0..count).filter_map(one).collect()
    }

    /// The box that four numbers stand for, each at least 0 and below 1: the area, the logarithm of the shape, the row,
    /// and the column; `None` if it is not smaller than the image. `count` is how many boxes share the area.
    pub fn at(
        &self,
        height: usize,
        width: usize,
        count: usize,
        [area, shape, row, column]: [f64; 4],
    ) -> Option<CropBox> {
        let target = between(self.area, area) * (height as f64 * width as f64) / count as f64;
        let aspect = between((self.aspect.0.ln(), self.aspect.1.ln()), shape).exp();
        let box_height = (target * aspect).sqrt().round_ties_even() as usize;
        let box_width = (target / aspect).sqrt().round_ties_even() as usize;
        (box_height < height && box_width < width).then(|| CropBox {
            top: place(row, height, box_height),
            left: place(column, width, box_width),
            height: box_height,
            width: box_width,
        })
    }

    /// Draws, and erases.
    ///
    /// # Errors
    /// [`Error::Shape`] if the image's sizes and values do not fit together.
    pub fn apply(&self, image: &mut Planar, rng: &mut dyn RngCore) -> Result<()> {
        let (height, width) = (image.height, image.width);
        let plane = height.checked_mul(width).filter(|&n| n > 0);
        let all = plane.and_then(|n| n.checked_mul(image.channels));
        if plane.is_none() || all != Some(image.data.len()) {
            return Err(Error::Shape {
                height,
                width,
                channels: image.channels,
                samples: image.data.len(),
            });
        }
        self.erase(&mut image.data, (height, width), rng);
        Ok(())
    }

    /// Draws, and erases from planes of this height and width.
    pub(super) fn erase(
        &self,
        planes: &mut [f32],
        (height, width): (usize, usize),
        rng: &mut dyn RngCore,
    ) {
        for area in self.draw(height, width, rng) {
            for plane in planes.chunks_exact_mut(height * width) {
                let colour =
                    if self.erase == Erase::Colour { rng.sample(StandardNormal) } else { 0.0 };
                for row in plane.chunks_exact_mut(width).skip(area.top).take(area.height) {
                    let row = &mut row[area.left..area.left + area.width];
                    match self.erase {
                        Erase::Noise => row.fill_with(|| rng.sample(StandardNormal)),
                        Erase::Zero | Erase::Colour => row.fill(colour),
                    }
                }
            }
        }
    }
}
