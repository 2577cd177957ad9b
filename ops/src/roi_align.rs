//! Features under boxes, as ROIAlign takes them (arXiv 1703.06870).

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};

use crate::buffer::unset;
use crate::isa::multiversion;
use crate::matrix::SharedMut;
use crate::numbers::{Numbers, slice};
use crate::parallel::{in_pool, parallel};
use crate::rows::math::fma;
use crate::{Compute, reference};

/// Channels that a task of the backward pass takes: it is alone with them in all boxes.
const CHANNELS: usize = 32;
/// Largest coordinate of a box: what is larger would take as many samples.
const LARGEST: f32 = 1e6;

/// A box in an image of a batch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Roi {
    /// The image's place in the batch.
    pub image: usize,
    /// x and y of the upper left and of the lower right corner, in pixels of the image.
    pub corners: [f32; 4],
}

/// Features under boxes, `side` x `side` numbers a channel and box: each the mean of bilinear samples, as many as there are
/// pixels of the map under it, rounded up, in each direction. As torchvision's
/// `roi_align(..., sampling_ratio=0, aligned=True)`, in its arithmetic.
///
/// # Shapes
/// `features` `[batch, height, width, channels]`, of images `1 / scale` times as large; the result is
/// `[boxes, side, side, channels]`. Boxes get no gradient.
///
/// # Errors
/// When a box is of an image that is not in the batch, is not finite, or has a side of more than a million pixels.
pub fn roi_align(
    features: &Tensor,
    rois: &[Roi],
    side: usize,
    scale: f64,
    compute: Compute,
) -> Result<Tensor> {
    let (batch, height, width, channels) = features.dims4()?;
    for Roi { image, corners } in rois {
        if *image >= batch {
            bail!("a box of image {image} in a batch of {batch}");
        }
        if !sensible(corners) {
            bail!("a box with corners {corners:?}");
        }
    }
    if side == 0 || height == 0 || width == 0 {
        bail!("{side} x {side} features of a box on a map of {height} x {width}");
    }
    let places = rois
        .iter()
        .map(|roi| Sampled {
            image: roi.image,
            rows: Line::new(roi.corners[1], roi.corners[3], side, scale, height),
            cols: Line::new(roi.corners[0], roi.corners[2], side, scale, width),
        })
        .collect::<Vec<_>>();
    if rois.is_empty() {
        return Tensor::zeros((0, side, side, channels), features.dtype(), features.device());
    }
    if !compute.fused(features.device()) {
        return reference::roi_align(features, &places, side);
    }
    features.contiguous()?.apply_op1(RoiOp { places, side, dims: [batch, height, width, channels] })
}

/// Whether a box can be sampled.
fn sensible(corners: &[f32; 4]) -> bool {
    corners.iter().all(|x| x.abs() <= LARGEST)
}

/// A box's samples: they are products of rows' and columns' weights.
pub(crate) struct Sampled {
    pub image: usize,
    pub rows: Line,
    pub cols: Line,
}

/// One direction of a box: for each bin, places of the map and their weights.
pub(crate) struct Line {
    taps: Vec<(usize, f32)>,
    /// Where each bin's taps end.
    ends: Vec<usize>,
}

impl Line {
    /// `bins` of them between two coordinates of the image, on a line of `len` places.
    fn new(start: f32, end: f32, bins: usize, scale: f64, len: usize) -> Self {
        let scale = scale as f32;
        let (start, end) = (start * scale - 0.5, end * scale - 0.5);
        let bin = (end - start) / bins as f32;
        let samples = bin.ceil().max(0.0) as usize;
        let mut line = Self { taps: Vec::new(), ends: Vec::with_capacity(bins) };
        for i in 0..bins {
            let first = line.taps.len();
            for sample in 0..samples {
                let place = start + i as f32 * bin + (sample as f32 + 0.5) * bin / samples as f32;
                line.sample(first, place, len, 1.0 / samples as f32);
            }
            line.ends.push(line.taps.len());
        }
        line
    }

    /// A linear sample; further than a place outside of the line there is nothing.
    fn sample(&mut self, first: usize, place: f32, len: usize, share: f32) {
        if !(-1.0..=len as f32).contains(&place) {
            return;
        }
        let place = place.max(0.0);
        let low = place as usize;
        if low >= len - 1 {
            return self.add(first, len - 1, share);
        }
        let part = place - low as f32;
        self.add(first, low, share * (1.0 - part));
        self.add(first, low + 1, share * part);
    }

    /// Samples of a bin go upwards, so that a place seen before is one of the last two.
    fn add(&mut self, first: usize, place: usize, weight: f32) {
        let last = self.taps.len().saturating_sub(2).max(first);
        match self.taps[last..].iter_mut().find(|(known, _)| *known == place) {
            Some((_, sum)) => *sum += weight,
            None => self.taps.push((place, weight)),
        }
    }

    pub fn bin(&self, bin: usize) -> &[(usize, f32)] {
        let first = if bin == 0 { 0 } else { self.ends[bin - 1] };
        &self.taps[first..self.ends[bin]]
    }
}

struct RoiOp {
    places: Vec<Sampled>,
    side: usize,
    dims: [usize; 4],
}

impl RoiOp {
    /// Calls `each` with a box's bin and each pixel under it: the pixel's number and weight.
    fn bins(&self, place: &Sampled, mut each: impl FnMut(usize, usize, f32)) {
        let [_, height, width, _] = self.dims;
        for bin in 0..self.side * self.side {
            for (row, row_weight) in place.rows.bin(bin / self.side) {
                for (col, col_weight) in place.cols.bin(bin % self.side) {
                    let pixel = (place.image * height + row) * width + col;
                    each(bin, pixel, row_weight * col_weight);
                }
            }
        }
    }
}

impl CustomOp1 for RoiOp {
    fn name(&self) -> &'static str {
        "roi-align"
    }

    fn cpu_fwd(&self, features: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let features = slice(features, layout)?;
        let channels = self.dims[3];
        let each = self.side * self.side * channels;
        let mut out = unset::<f32>(self.places.len() * each);
        let shared = SharedMut::new(&mut out);
        in_pool(|| {
            parallel(self.places.len(), |i| {
                // SAFETY: each task has its own box.
                let out = unsafe { shared.part(i * each, (i + 1) * each) };
                out.fill(0.0);
                self.bins(&self.places[i], |bin, pixel, weight| {
                    let from = &features[pixel * channels..][..channels];
                    add_scaled(from, weight, &mut out[bin * channels..][..channels]);
                });
            });
        });
        Ok((CpuStorage::F32(out), (self.places.len(), self.side, self.side, channels).into()))
    }

    fn bwd(&self, features: &Tensor, _out: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let gradient = gradient.contiguous()?;
        let gradient = Numbers::of(&gradient)?;
        let gradient: &[f32] = &gradient;
        let channels = self.dims[3];
        let each = self.side * self.side * channels;
        let mut out = vec![0.0; features.elem_count()];
        let shared = SharedMut::new(&mut out);
        in_pool(|| {
            parallel(channels.div_ceil(CHANNELS), |task| {
                let first = task * CHANNELS;
                let last = (first + CHANNELS).min(channels);
                for (place, gradient) in self.places.iter().zip(gradient.chunks_exact(each)) {
                    self.bins(place, |bin, pixel, weight| {
                        let from = &gradient[bin * channels..][first..last];
                        // SAFETY: each task has its own channels.
                        let to = unsafe {
                            shared.part(pixel * channels + first, pixel * channels + last)
                        };
                        add_scaled(from, weight, to);
                    });
                }
            });
        });
        Ok(Some(Tensor::from_vec(out, features.shape(), features.device())?))
    }
}

multiversion! {
    fn add_scaled(from: &[f32], factor: f32, to: &mut [f32]) = add_scaled_body;
}

#[inline(always)]
fn add_scaled_body<const FMA: bool>(from: &[f32], factor: f32, to: &mut [f32]) {
    to.iter_mut().zip(from).for_each(|(to, x)| *to = fma::<FMA>(factor, *x, *to));
}

/// [`roi_align()`] of a mask of zeros and ones, `rows` x `cols` row by row: the share of ones in each of `side` x `side` bins.
///
/// # Panics
/// When there are not as many pixels, or none, or a box that [`roi_align()`] refuses.
pub fn roi_align_mask(
    mask: &[u8],
    (rows, cols): (usize, usize),
    corners: [f32; 4],
    side: usize,
) -> Vec<f32> {
    assert!(mask.len() == rows * cols && !mask.is_empty(), "a mask of {rows} x {cols}");
    assert!(sensible(&corners), "a box with corners {corners:?}");
    let row_line = Line::new(corners[1], corners[3], side, 1.0, rows);
    let col_line = Line::new(corners[0], corners[2], side, 1.0, cols);
    let share = |bin: usize| {
        let across = |row: usize| {
            let pixels = col_line.bin(bin % side).iter();
            pixels.map(|(col, weight)| weight * f32::from(mask[row * cols + col])).sum::<f32>()
        };
        row_line.bin(bin / side).iter().map(|(row, weight)| weight * across(*row)).sum()
    };
    (0..side * side).map(share).collect()
}
