//! 3 x 3 convolution as matrix products: the nine pixels under the kernel are one row of the left operand. Such rows are
//! only ever made for a piece of the map, in a core's second-level cache, so that the map is not in memory nine times.

use std::marker::PhantomData;

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor, bail};
use half::bf16;

use crate::attention::{Attend, whole};
use crate::buffer::{Lines, padded, unset};
use crate::gemm::{Kernel, Transposed, gemm_local, pack_all};
use crate::isa::multiversion;
use crate::matrix::{Rows, RowsMut};
use crate::numbers::{Numbers, slice};
use crate::parallel::parallel_pieces;
use crate::product::outer;
use crate::rows::convert::{column_sums, convert, convert_row};
use crate::{Compute, Precision, reference};

/// Pixels that a task takes in the forward pass.
const PIECE: usize = 192;
/// Pixels whose neighbourhoods are in memory at once for a weight's gradient.
const RUN: usize = 2048;
/// Pixels of the kernel.
const TAPS: usize = 9;

/// A 3 x 3 convolution with stride 1 and a border of zeros, so that the map keeps its size; a gradient for all three.
///
/// # Shapes
/// `x` `[batch, height, width, in]`: channels last. `weight` `[out, in, 3, 3]` and `bias` `[out]`, as PyTorch has them; the
/// result is `[batch, height, width, out]`.
///
/// # Errors
/// When the shapes do not fit.
pub fn conv3x3(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    compute: Compute,
) -> Result<Tensor> {
    let (_, _, _, channels) = x.dims4()?;
    let (outputs, inputs, height, width) = weight.dims4()?;
    if (inputs, height, width) != (channels, 3, 3) {
        bail!("a 3 x 3 convolution of weight {:?} on {:?}", weight.dims(), x.dims());
    }
    let bias = match bias {
        Some(bias) if bias.dims() == [outputs] => bias.clone(),
        Some(bias) => bail!("a bias of shape {:?}, expected [{outputs}]", bias.dims()),
        None => Tensor::zeros(outputs, x.dtype(), x.device())?,
    };
    if !compute.fused(x.device()) {
        return reference::conv3x3(x, weight, &bias);
    }
    let (x, weight, bias) = (x.contiguous()?, weight.contiguous()?, bias.contiguous()?);
    match compute.precision {
        Precision::Fp32 => x.apply_op3(&weight, &bias, ConvOp::<f32>(PhantomData)),
        Precision::Bf16 => x.apply_op3(&weight, &bias, ConvOp::<bf16>(PhantomData)),
    }
}

/// A map in the precision of the products.
struct Map<T> {
    values: Vec<T>,
    /// Images, rows, columns and channels.
    dims: [usize; 4],
}

impl<T: Attend> Map<T> {
    fn of(x: &[f32], dims: [usize; 4]) -> Self {
        let [batch, height, width, channels] = dims;
        let pixels = batch * height * width;
        let mut values = unset::<T>(x.len());
        let to = RowsMut::dense(&mut values, pixels, channels);
        convert(Rows::dense(x, pixels, channels), None, to);
        Self { values, dims }
    }

    fn pixels(&self) -> usize {
        self.dims[..3].iter().product()
    }

    fn rows(&self) -> Rows<'_, T> {
        Rows::dense(&self.values, self.pixels(), self.dims[3])
    }

    /// Pixel `pixel` and its neighbours, row by row, with zeros outside of the map.
    fn neighbourhood(&self, pixel: usize, out: &mut [T]) {
        let [_, height, width, channels] = self.dims;
        let (row, col) = (pixel / width % height, pixel % width);
        let image = pixel - row * width - col;
        let line = 3 * channels;
        for (tap, out) in out.chunks_exact_mut(line).enumerate() {
            // Counted from one row above the map, so that nothing is negative.
            let from = row + tap;
            if from == 0 || from > height {
                out.fill(T::from_f32(0.0));
                continue;
            }
            let start = image + (from - 1) * width;
            let (first, last) = (col.max(1) - 1, (col + 1).min(width - 1));
            let given = &self.values[(start + first) * channels..(start + last + 1) * channels];
            let before = (first + 1 - col) * channels;
            out[..before].fill(T::from_f32(0.0));
            out[before..][..given.len()].copy_from_slice(given);
            out[before + given.len()..].fill(T::from_f32(0.0));
        }
    }

    /// The convolution's output by a matrix `[outputs, 9 * channels]`.
    fn convolved(&self, matrix: &[f32], bias: Option<&[f32]>, outputs: usize) -> Vec<f32> {
        let depth = TAPS * self.dims[3];
        let mut words = Lines::new();
        pack_all::<T>(&Transposed(Rows::dense(matrix, outputs, depth)), &mut words);
        let mut out = unset::<f32>(self.pixels() * outputs);
        let to = RowsMut::dense(&mut out, self.pixels(), outputs);
        parallel_pieces(self.pixels(), PIECE, |start, end| {
            self.piece((start, end), &words, bias, to.part(start, end - start, 0, outputs));
        });
        out
    }

    fn piece(
        &self,
        (start, end): (usize, usize),
        words: &[u32],
        bias: Option<&[f32]>,
        out: RowsMut<'_, f32>,
    ) {
        let kernel = Kernel::<T>::current();
        let (rows, depth) = (end - start, TAPS * self.dims[3]);
        let (stride, sum_stride) = (padded::<T>(depth), whole(out.cols()));
        T::with_scratch(|scratch| {
            // The loop writes whole tiles.
            let tiles = rows.next_multiple_of(kernel.rows());
            let (taps, sums) = scratch.room(rows * stride, tiles * sum_stride);
            for (pixel, taps) in (start..end).zip(taps.chunks_exact_mut(stride)) {
                self.neighbourhood(pixel, &mut taps[..depth]);
            }
            let taps = Rows::new(taps, rows, depth, stride);
            let _session = kernel.session();
            gemm_local(kernel, taps, words, out.cols(), sums, sum_stride, false);
            for (row, sums) in sums.chunks_exact(sum_stride).take(rows).enumerate() {
                // SAFETY: a piece's rows are this task's alone.
                let out = unsafe { out.row(row, 0, out.cols()) };
                match bias {
                    Some(bias) => add_row(sums, bias, out),
                    None => convert_row(&sums[..out.len()], 1.0, out),
                }
            }
        });
    }

    /// The gradient of the matrix `[outputs, 9 * channels]`, where this is the convolution's input.
    fn matrix_gradient(&self, gradient: &Self) -> Vec<f32> {
        let (depth, outputs) = (TAPS * self.dims[3], gradient.dims[3]);
        let stride = padded::<T>(depth);
        let mut sums = vec![0.0; outputs * depth];
        let mut room = Lines::<T>::unset(RUN.min(self.pixels()) * stride);
        for start in (0..self.pixels()).step_by(RUN) {
            let rows = (self.pixels() - start).min(RUN);
            let to = RowsMut::new(&mut room, rows, depth, stride);
            parallel_pieces(rows, 64, |first, last| {
                for row in first..last {
                    // SAFETY: each task has its own rows.
                    self.neighbourhood(start + row, unsafe { to.row(row, 0, depth) });
                }
            });
            let taps = Rows::new(&room, rows, depth, stride);
            let gradient = gradient.rows().part(start, rows, 0, outputs);
            outer(gradient, taps, RowsMut::dense(&mut sums, outputs, depth), true);
        }
        sums
    }
}

multiversion! {
    fn add_row(sums: &[f32], bias: &[f32], out: &mut [f32]) = add_row_body;
}

#[inline(always)]
fn add_row_body<const FMA: bool>(sums: &[f32], bias: &[f32], out: &mut [f32]) {
    for ((out, sum), bias) in out.iter_mut().zip(sums).zip(bias) {
        *out = sum + bias;
    }
}

/// `weight` `[out, in, 3, 3]` as a matrix `[out, 9 * in]` of neighbourhoods.
fn matrix(weight: &[f32], inputs: usize) -> Vec<f32> {
    let mut matrix = vec![0.0; weight.len()];
    for (output, row) in matrix.chunks_exact_mut((TAPS * inputs).max(1)).enumerate() {
        for (place, to) in row.iter_mut().enumerate() {
            let (tap, input) = (place / inputs, place % inputs);
            *to = weight[(output * inputs + input) * TAPS + tap];
        }
    }
    matrix
}

/// The matrix `[in, 9 * out]` by which the input's gradient is a convolution of the output's: the kernel is turned round.
fn turned(weight: &[f32], outputs: usize, inputs: usize) -> Vec<f32> {
    let mut matrix = vec![0.0; weight.len()];
    for (input, row) in matrix.chunks_exact_mut((TAPS * outputs).max(1)).enumerate() {
        for (place, to) in row.iter_mut().enumerate() {
            let (tap, output) = (place / outputs, place % outputs);
            *to = weight[(output * inputs + input) * TAPS + (TAPS - 1 - tap)];
        }
    }
    matrix
}

/// The gradient of [`matrix`] in the weight's own order.
fn unmatrix(matrix: &[f32], inputs: usize) -> Vec<f32> {
    let mut weight = vec![0.0; matrix.len()];
    let rows = matrix.chunks_exact((TAPS * inputs).max(1));
    for (row, to) in rows.zip(weight.chunks_exact_mut((TAPS * inputs).max(1))) {
        for (place, value) in row.iter().enumerate() {
            to[place % inputs * TAPS + place / inputs] = *value;
        }
    }
    weight
}

struct ConvOp<T>(PhantomData<fn(T)>);

impl<T: Attend> CustomOp3 for ConvOp<T> {
    fn name(&self) -> &'static str {
        "conv3x3"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (batch, height, width, channels) = x_layout.shape().dims4()?;
        let outputs = weight_layout.shape().dims4()?.0;
        let map = Map::<T>::of(slice(x, x_layout)?, [batch, height, width, channels]);
        let matrix = matrix(slice(weight, weight_layout)?, channels);
        let out = map.convolved(&matrix, Some(slice(bias, bias_layout)?), outputs);
        Ok((CpuStorage::F32(out), (batch, height, width, outputs).into()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        _out: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (batch, height, width, channels) = x.dims4()?;
        let outputs = weight.dim(0)?;
        let device = x.device();
        let dy = gradient.contiguous()?;
        let dy = Map::<T>::of(&Numbers::of(&dy)?, [batch, height, width, outputs]);
        let dx = x.track_op().then(|| {
            let matrix = turned(&Numbers::of(weight)?, outputs, channels);
            Tensor::from_vec(dy.convolved(&matrix, None, channels), x.shape(), device)
        });
        let dw = weight.track_op().then(|| {
            let x = Map::<T>::of(&Numbers::of(x)?, [batch, height, width, channels]);
            let sums = unmatrix(&x.matrix_gradient(&dy), channels);
            Tensor::from_vec(sums, weight.shape(), device)
        });
        let db =
            bias.track_op().then(|| Tensor::from_vec(column_sums(dy.rows()), bias.shape(), device));
        Ok((dx.transpose()?, dw.transpose()?, db.transpose()?))
    }
}
