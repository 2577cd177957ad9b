use std::sync::{Mutex, PoisonError};

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};

use crate::matrix::SharedMut;
use crate::numbers::{Numbers, slice};
use crate::parallel::{in_pool, parallel};
use crate::{Compute, reference};

/// The largest of each 2 x 2 pixels; a last row or column without a partner is left out, as PyTorch does.
///
/// # Shapes
/// `x` `[batch, height, width, channels]`; the result is `[batch, height / 2, width / 2, channels]`. Of equal ones the first
/// gets the gradient.
///
/// # Errors
/// When a side is below 2.
pub fn max_pool2(x: &Tensor, compute: Compute) -> Result<Tensor> {
    let (batch, height, width, channels) = x.dims4()?;
    if height < 2 || width < 2 {
        bail!("2 x 2 pooling of a map of {height} x {width}");
    }
    if !compute.fused(x.device()) {
        return reference::max_pool2(x);
    }
    let largest = Mutex::new(Vec::new());
    x.contiguous()?.apply_op1(MaxPool { dims: [batch, height, width, channels], largest })
}

struct MaxPool {
    dims: [usize; 4],
    /// Which of the four each number is.
    largest: Mutex<Vec<u8>>,
}

impl MaxPool {
    /// Rows of the result.
    fn rows(&self) -> usize {
        self.dims[0] * (self.dims[1] / 2)
    }

    /// Where the `pixel`-th of the four begins in the input.
    fn start(&self, row: usize, col: usize, pixel: usize) -> usize {
        let [_, height, width, channels] = self.dims;
        let (image, row) = (row / (height / 2), row % (height / 2));
        ((image * height + 2 * row + pixel / 2) * width + 2 * col + pixel % 2) * channels
    }
}

impl CustomOp1 for MaxPool {
    fn name(&self) -> &'static str {
        "max-pool2"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = slice(x, layout)?;
        let [batch, height, width, channels] = self.dims;
        let row_len = width / 2 * channels;
        let mut out = vec![f32::NEG_INFINITY; self.rows() * row_len];
        let mut largest = vec![0_u8; out.len()];
        let (shared, places) = (SharedMut::new(&mut out), SharedMut::new(&mut largest));
        in_pool(|| {
            parallel(self.rows(), |row| {
                for col in 0..width / 2 {
                    let start = row * row_len + col * channels;
                    // SAFETY: each task has its own row.
                    let (out, places) = unsafe {
                        (shared.part(start, start + channels), places.part(start, start + channels))
                    };
                    for pixel in 0..4 {
                        let x = &x[self.start(row, col, pixel)..][..channels];
                        for ((out, place), x) in out.iter_mut().zip(&mut *places).zip(x) {
                            if *x > *out || x.is_nan() {
                                (*out, *place) = (*x, pixel as u8);
                            }
                        }
                    }
                }
            });
        });
        *self.largest.lock().unwrap_or_else(PoisonError::into_inner) = largest;
        Ok((CpuStorage::F32(out), (batch, height / 2, width / 2, channels).into()))
    }

    fn bwd(&self, x: &Tensor, _out: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let gradient = gradient.contiguous()?;
        let gradient = Numbers::of(&gradient)?;
        let largest = self.largest.lock().unwrap_or_else(PoisonError::into_inner);
        let [_, _, width, channels] = self.dims;
        let mut out = vec![0.0_f32; x.elem_count()];
        for pixel in 0..self.rows() * (width / 2) {
            let (row, col) = (pixel / (width / 2), pixel % (width / 2));
            let starts = [0, 1, 2, 3].map(|i| self.start(row, col, i));
            let at = pixel * channels..(pixel + 1) * channels;
            for (i, (place, x)) in largest[at.clone()].iter().zip(&gradient[at]).enumerate() {
                out[starts[usize::from(*place)] + i] = *x;
            }
        }
        Ok(Some(Tensor::from_vec(out, x.shape(), x.device())?))
    }
}
