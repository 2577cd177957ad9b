//! Resizing a line of samples as a matrix, so that it works on any tensor and stays differentiable.

use std::fmt;

use candle_core::{DType, Device, Tensor};

use crate::Result;

/// How samples on a grid are resized: as `torch.nn.functional.interpolate(mode="bicubic", align_corners=False)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Resample {
    /// `antialias=False`: Keys' kernel with a = -0.75, four taps whatever the scale. MAE's `interpolate_pos_embed`, its
    /// long-sequence version and detectron2 resize so.
    #[default]
    Bicubic,
    /// `antialias=True`: Keys' kernel with a = -0.5, widened when there are to be fewer samples, and normalised. timm's
    /// `resample_abs_pos_embed` and `resample_patch_embed` resize so.
    BicubicAntialiased,
}

impl fmt::Display for Resample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bicubic => "bicubic",
            Self::BicubicAntialiased => "bicubic antialiased",
        })
    }
}

/// A matrix that turns a line of `from` samples into one of `to`.
#[derive(Debug, Clone)]
pub(crate) struct LineMatrix {
    pub from: usize,
    pub to: usize,
    /// `[to, from]`, row by row.
    pub values: Vec<f64>,
}

impl LineMatrix {
    pub fn new(from: usize, to: usize, how: Resample) -> Self {
        let mut values = vec![0.0; to * from];
        let scale = from as f64 / to as f64;
        for (out, line) in values.chunks_exact_mut(from).enumerate() {
            match how {
                Resample::Bicubic => four_taps(line, out, scale),
                Resample::BicubicAntialiased => widened_taps(line, out, scale),
            }
        }
        Self { from, to, values }
    }

    /// `[to, from]` of this type. Converted on the CPU: some devices know no f64.
    pub fn tensor(&self, dtype: DType, device: &Device) -> Result<Tensor> {
        let values = Tensor::from_slice(&self.values, (self.to, self.from), &Device::Cpu)?;
        Ok(values.to_dtype(dtype)?.to_device(device)?)
    }
}

/// The weights of one output, at the border with the border's sample taken again.
fn four_taps(line: &mut [f64], out: usize, scale: f64) {
    let place = (out as f64 + 0.5) * scale - 0.5;
    let first = place.floor();
    for tap in -1..=2 {
        let source = (first as isize + tap).clamp(0, line.len() as isize - 1) as usize;
        line[source] += cubic(place - first - tap as f64, -0.75);
    }
}

/// The weights of one output over all samples under the kernel, with sum one.
fn widened_taps(line: &mut [f64], out: usize, scale: f64) {
    let widening = scale.max(1.0);
    let centre = (out as f64 + 0.5) * scale;
    for (source, weight) in line.iter_mut().enumerate() {
        *weight = cubic((source as f64 + 0.5 - centre) / widening, -0.5);
    }
    let total: f64 = line.iter().sum();
    line.iter_mut().for_each(|weight| *weight /= total);
}

/// Keys' cubic convolution kernel (1981).
fn cubic(distance: f64, a: f64) -> f64 {
    let x = distance.abs();
    if x <= 1.0 {
        ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a
    } else {
        0.0
    }
}

/// The type to compute in: half floats have too few digits for sums of products.
pub(crate) fn computing_type(dtype: DType) -> DType {
    if dtype == DType::F64 { DType::F64 } else { DType::F32 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_sum_to_one_and_equal_sizes_change_nothing() {
        for how in [Resample::Bicubic, Resample::BicubicAntialiased] {
            for (from, to) in [(1, 5), (5, 1), (7, 7), (14, 28), (16, 3), (3, 16)] {
                let matrix = LineMatrix::new(from, to, how);
                for (out, line) in matrix.values.chunks_exact(from).enumerate() {
                    assert!((line.iter().sum::<f64>() - 1.0).abs() < 1e-12, "{how} {from} to {to}");
                    assert!(from != to || line[out] == 1.0, "{how} {from} to {to}");
                }
            }
        }
    }
}
