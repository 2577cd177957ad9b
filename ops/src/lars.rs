//! LARS (arXiv 1708.03888) over all of a model's tensors.

use candle_core::{Result, Tensor, Var, bail};

use crate::adamw::sum_of_squares;
use crate::matrix::SharedMut;
use crate::numbers::{Numbers, change};
use crate::parallel::{in_pool, parallel_pieces};
use crate::reference;
use crate::rows::lars::{Factors, decayed_squares, update};

/// Numbers that a task updates: small enough that values, momentum and gradient stay in the second-level cache.
const PIECE: usize = 1 << 15;

/// What all tensors of an update share.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LarsStep {
    /// What is kept of the momentum.
    pub momentum: f64,
    /// Length of a step as a share of the parameter's own, before the learning rate.
    pub trust_coefficient: f64,
    /// Factor on every gradient, for clipping.
    pub gradient_scale: f64,
}

/// A tensor to update, with its momentum; both are changed where they lie.
#[derive(Debug, Clone, Copy)]
pub struct LarsTensor<'a> {
    /// The values.
    pub value: &'a Var,
    /// The momentum.
    pub momentum: &'a Var,
    /// The gradient.
    pub gradient: &'a Tensor,
    /// Learning rate of this tensor.
    pub lr: f64,
    /// Weight decay of this tensor, added to its gradient.
    pub weight_decay: f64,
}

/// Updates tensors as MAE's `util/lars.py`: where a tensor has two or more dimensions, its decayed gradient is brought to
/// `trust_coefficient` times the tensor's own L2 norm, unless either norm is zero. Others go by plain momentum, without
/// weight decay.
///
/// # Errors
/// When a tensor is not contiguous f32, or its momentum or gradient have another size; sizes are checked before
/// anything is changed.
pub fn lars(tensors: &[LarsTensor<'_>], step: &LarsStep) -> Result<()> {
    tensors.iter().try_for_each(check_sizes)?;
    in_pool(|| tensors.iter().try_for_each(|tensor| one_tensor(tensor, step)))
}

fn check_sizes(tensor: &LarsTensor<'_>) -> Result<()> {
    let count = tensor.value.elem_count();
    for (what, found) in
        [("momentum", tensor.momentum.elem_count()), ("gradient", tensor.gradient.elem_count())]
    {
        if found != count {
            bail!("a {what} of {found} numbers for a parameter of {count}");
        }
    }
    Ok(())
}

fn one_tensor(tensor: &LarsTensor<'_>, step: &LarsStep) -> Result<()> {
    if !tensor.value.device().is_cpu() {
        return reference::lars(tensor, step);
    }
    let adapted = tensor.value.rank() > 1;
    let mut factors = Factors {
        gradient_scale: step.gradient_scale as f32,
        weight_decay: if adapted { tensor.weight_decay as f32 } else { 0.0 },
        trust: 1.0,
        momentum: step.momentum as f32,
        lr: tensor.lr as f32,
    };
    let gradient = tensor.gradient.contiguous()?;
    let gradient = Numbers::of(&gradient)?;
    if adapted {
        factors.trust = trust(tensor, &gradient, step.trust_coefficient, &factors)?;
    }
    let mut inner = Ok(());
    change(tensor.value.as_tensor(), |values| {
        inner = change(tensor.momentum.as_tensor(), |momentum| {
            all_pieces(values, momentum, &gradient, &factors);
        });
    })?;
    inner
}

/// What brings the decayed gradient to its share of the parameter's norm.
fn trust(
    tensor: &LarsTensor<'_>,
    gradient: &[f32],
    coefficient: f64,
    factors: &Factors,
) -> Result<f32> {
    let norm = sum_of_squares(tensor.value.as_tensor())?.sqrt();
    let values = Numbers::of(tensor.value.as_tensor())?;
    let values: &[f32] = &values;
    let mut sums = vec![0.0_f32; values.len().div_ceil(PIECE)];
    let shared = SharedMut::new(&mut sums);
    parallel_pieces(values.len(), PIECE, |start, end| {
        let piece = start / PIECE;
        // SAFETY: each task has its own sum.
        let sum = unsafe { shared.part(piece, piece + 1) };
        sum[0] = decayed_squares(&values[start..end], &gradient[start..end], factors);
    });
    let update = sums.iter().map(|sum| f64::from(*sum)).sum::<f64>().sqrt();
    Ok(if norm > 0.0 && update > 0.0 { (coefficient * norm / update) as f32 } else { 1.0 })
}

fn all_pieces(values: &mut [f32], momentum: &mut [f32], gradient: &[f32], factors: &Factors) {
    let parts = [SharedMut::new(values), SharedMut::new(momentum)];
    parallel_pieces(gradient.len(), PIECE, |start, end| {
        // SAFETY: each task has its own part.
        let [values, momentum] = unsafe { [parts[0].part(start, end), parts[1].part(start, end)] };
        update(values, momentum, &gradient[start..end], factors);
    });
}
