//! AdamW (arXiv 1711.05101) over all of a model's tensors.

use candle_core::{Result, Tensor, Var, bail};

use crate::matrix::SharedMut;
use crate::numbers::{Numbers, change};
use crate::parallel::{in_pool, parallel_pieces};
use crate::reference;
use crate::rows::adamw::{Factors, update};
use crate::rows::sums::squares;

/// Numbers that a task updates: small enough that values, moments and gradient stay in the second-level cache.
const PIECE: usize = 1 << 15;

/// One update's numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamWStep {
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Updates done, this one included.
    pub step: u64,
    /// Factor on every gradient, for clipping.
    pub gradient_scale: f64,
}

/// A tensor to update, with its moments; all three are changed where they lie.
#[derive(Debug, Clone, Copy)]
pub struct AdamWTensor<'a> {
    /// The values.
    pub value: &'a Var,
    /// First moment.
    pub first: &'a Var,
    /// Second moment.
    pub second: &'a Var,
    /// The gradient.
    pub gradient: &'a Tensor,
    /// Learning rate of this tensor.
    pub lr: f64,
    /// Weight decay of this tensor.
    pub weight_decay: f64,
}

/// Updates tensors as PyTorch's AdamW, in one pass over their memory.
///
/// # Errors
/// When a tensor is not contiguous f32, or its moments or gradient have another size; sizes are checked before anything is
/// changed.
pub fn adamw(tensors: &[AdamWTensor<'_>], step: &AdamWStep) -> Result<()> {
    tensors.iter().try_for_each(check_sizes)?;
    in_pool(|| tensors.iter().try_for_each(|tensor| one_tensor(tensor, step)))
}

fn check_sizes(tensor: &AdamWTensor<'_>) -> Result<()> {
    let count = tensor.value.elem_count();
    for (what, found) in [
        ("first moment", tensor.first.elem_count()),
        ("second moment", tensor.second.elem_count()),
        ("gradient", tensor.gradient.elem_count()),
    ] {
        if found != count {
            bail!("a {what} of {found} numbers for a parameter of {count}");
        }
    }
    Ok(())
}

/// The numbers of one tensor's update.
pub(crate) fn factors(tensor: &AdamWTensor<'_>, step: &AdamWStep) -> Factors {
    let steps = step.step.min(i32::MAX as u64) as i32;
    Factors {
        beta1: step.beta1 as f32,
        beta2: step.beta2 as f32,
        eps: step.eps as f32,
        keep: (1.0 - tensor.lr * tensor.weight_decay) as f32,
        rate: (tensor.lr / (1.0 - step.beta1.powi(steps))) as f32,
        correction: (1.0 / (1.0 - step.beta2.powi(steps)).sqrt()) as f32,
        gradient_scale: step.gradient_scale as f32,
    }
}

fn one_tensor(tensor: &AdamWTensor<'_>, step: &AdamWStep) -> Result<()> {
    let factors = factors(tensor, step);
    #[cfg(feature = "cuda")]
    if tensor.value.device().is_cuda() {
        let (value, first, second) = (tensor.value, tensor.first, tensor.second);
        return crate::cuda::adamw(value, first, second, tensor.gradient, &factors);
    }
    if !tensor.value.device().is_cpu() {
        return reference::adamw(tensor, step);
    }
    let gradient = tensor.gradient.contiguous()?;
    let gradient = Numbers::of(&gradient)?;
    let (mut of_first, mut of_second) = (Ok(()), Ok(()));
    change(tensor.value.as_tensor(), |values| {
        of_first = change(tensor.first.as_tensor(), |first| {
            of_second = change(tensor.second.as_tensor(), |second| {
                all_pieces(values, first, second, &gradient, &factors);
            });
        });
    })?;
    of_first.and(of_second)
}

fn all_pieces(
    values: &mut [f32],
    first: &mut [f32],
    second: &mut [f32],
    gradient: &[f32],
    factors: &Factors,
) {
    let parts = [SharedMut::new(values), SharedMut::new(first), SharedMut::new(second)];
    parallel_pieces(gradient.len(), PIECE, |start, end| {
        // SAFETY: each task has its own part.
        let [values, first, second] = unsafe {
            [parts[0].part(start, end), parts[1].part(start, end), parts[2].part(start, end)]
        };
        update(values, first, second, &gradient[start..end], factors);
    });
}

/// The L2 norm over all gradients together, summed in f64 over pieces in a fixed order. On a GPU it waits for what the gradients
/// come of.
///
/// # Errors
/// When a gradient is not f32.
pub fn gradient_norm<'a>(gradients: impl IntoIterator<Item = &'a Tensor>) -> Result<f64> {
    let gradients: Vec<&Tensor> = gradients.into_iter().collect();
    #[cfg(feature = "cuda")]
    if gradients.first().is_some_and(|gradient| gradient.device().is_cuda()) {
        return Ok(crate::cuda::squares(&gradients)?.iter().sum::<f64>().sqrt());
    }
    let total = in_pool(|| gradients.into_iter().map(sum_of_squares).sum::<Result<f64>>())?;
    Ok(total.sqrt())
}

/// The sum of squares of a tensor's numbers, in pieces in a fixed order.
pub(crate) fn sum_of_squares(gradient: &Tensor) -> Result<f64> {
    if !gradient.device().is_cpu() {
        return reference::squares(gradient);
    }
    let gradient = gradient.contiguous()?;
    let values = Numbers::of(&gradient)?;
    let values: &[f32] = &values;
    let mut sums = vec![0.0_f32; values.len().div_ceil(PIECE)];
    let shared = SharedMut::new(&mut sums);
    parallel_pieces(values.len(), PIECE, |start, end| {
        let piece = start / PIECE;
        // SAFETY: each task has its own sum.
        let sum = unsafe { shared.part(piece, piece + 1) };
        sum[0] = squares(&values[start..end]);
    });
    Ok(sums.iter().map(|sum| f64::from(*sum)).sum())
}

/// `sum += x`, where `sum` lies.
///
/// # Errors
/// When the tensors are not contiguous f32 on one CPU or GPU, or of different sizes.
pub fn add_in_place(sum: &Tensor, x: &Tensor) -> Result<()> {
    if sum.shape() != x.shape() {
        bail!("cannot add {:?} to {:?}", x.dims(), sum.dims());
    }
    // A copy, since `sum` may be `x` itself, which cannot be read while it is changed.
    let x = if sum.id() == x.id() { x.copy()? } else { x.contiguous()? };
    #[cfg(feature = "cuda")]
    if sum.device().is_cuda() {
        return crate::cuda::add_in_place(sum, &x);
    }
    let x = Numbers::of(&x)?;
    change(sum, |sum| crate::rows::convert::add(sum, &x))
}
