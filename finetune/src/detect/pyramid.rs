use candle_core::{IndexOp, Tensor};
use longmae_ops::{Compute, Params, gelu, max_pool2};
use longmae_vit::Norm;

use super::layers::{Conv, Side, Start, UpConv};
use crate::Result;

/// The simple feature pyramid (arXiv 2203.16527): maps of strides 4, 8, 16 and 32 from the last map of a plain backbone of
/// stride 16, each by itself, and one of stride 64, every second pixel of the one before it.
///
/// Its parameters have detectron2's names: `simfp_2` to `simfp_5`, each with its layers by number.
#[derive(Debug, Clone)]
pub struct FeaturePyramid {
    /// To four times, twice and once the map's size, and to half of it.
    levels: [Level; 4],
    compute: Compute,
}

/// A level's way from the backbone's map.
#[derive(Debug, Clone)]
struct Level {
    scale: Scale,
    reduce: Conv,
    smooth: Conv,
}

#[derive(Debug, Clone)]
enum Scale {
    Four(UpConv, Norm, UpConv),
    Two(UpConv),
    Same,
    Half,
}

impl FeaturePyramid {
    /// How many maps there are.
    pub const LEVELS: usize = 5;

    /// Defines the parameters: `dim` is the backbone's width, `channels` that of the maps.
    ///
    /// # Errors
    /// When a parameter's name is taken.
    pub fn new(dim: usize, channels: usize, params: &Params) -> Result<Self> {
        let level = |number: usize| -> Result<Level> {
            let params = params.pp(format!("simfp_{number}"));
            let up = |place: usize, sizes| UpConv::new(sizes, Start::Default, &params.pp(place));
            let (scale, layers, width) = match number {
                2 => {
                    let norm = Norm::new(dim / 2, 1e-6, &params.pp(1))?;
                    let (first, second) = (up(0, (dim, dim / 2))?, up(3, (dim / 2, dim / 4))?);
                    (Scale::Four(first, norm, second), 4, dim / 4)
                }
                3 => (Scale::Two(up(0, (dim, dim / 2))?), 1, dim / 2),
                4 => (Scale::Same, 0, dim),
                _ => (Scale::Half, 1, dim),
            };
            let conv = |place: usize, inputs, side| {
                Conv::with_norm((inputs, channels), side, Start::Default, &params.pp(place))
            };
            Ok(Level {
                scale,
                reduce: conv(layers, width, Side::One)?,
                smooth: conv(layers + 1, channels, Side::Three)?,
            })
        };
        let levels = [level(2)?, level(3)?, level(4)?, level(5)?];
        Ok(Self { levels, compute: params.compute() })
    }

    /// Maps a backbone's map `[batch, height, width, dim]` to those of the pyramid, `[batch, .., .., channels]`, the largest
    /// first.
    ///
    /// # Errors
    /// When the shapes do not fit, or a side is below 2.
    pub fn forward(&self, x: &Tensor) -> Result<Vec<Tensor>> {
        let mut maps = Vec::with_capacity(Self::LEVELS);
        for level in &self.levels {
            let x = match &level.scale {
                Scale::Four(first, norm, second) => {
                    let x = norm.forward(&first.forward(x)?)?;
                    second.forward(&gelu(&x, self.compute)?)?
                }
                Scale::Two(up) => up.forward(x)?,
                Scale::Same => x.clone(),
                Scale::Half => max_pool2(x, self.compute)?,
            };
            maps.push(level.smooth.forward(&level.reduce.forward(&x)?)?);
        }
        maps.push(every_second(&maps[3])?);
        Ok(maps)
    }
}

/// Every second pixel in both directions, from the first on.
fn every_second(x: &Tensor) -> Result<Tensor> {
    let (batch, height, width, channels) = x.dims4()?;
    let x = x.pad_with_zeros(1, 0, height % 2)?.pad_with_zeros(2, 0, width % 2)?;
    let (rows, cols) = (height.div_ceil(2), width.div_ceil(2));
    let x = x.reshape((batch * rows, 2, cols, 2 * channels))?;
    let x = x.i((.., 0, .., ..channels))?.contiguous()?;
    Ok(x.reshape((batch, rows, cols, channels))?)
}
