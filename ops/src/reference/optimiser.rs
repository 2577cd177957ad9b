//! Updates of weights, in operations that every device has.

use candle_core::{Result, Tensor, Var};

use crate::{AdamWStep, AdamWTensor, LarsStep, LarsTensor};

/// The update of one tensor: see [`adamw`](crate::adamw).
///
/// # Errors
/// When the shapes do not fit.
pub fn adamw(tensor: &AdamWTensor<'_>, step: &AdamWStep) -> Result<()> {
    let steps = step.step.min(i32::MAX as u64) as i32;
    let gradient = (tensor.gradient.detach() * step.gradient_scale)?;
    let first = moved(tensor.first, step.beta1, &gradient)?;
    let second = moved(tensor.second, step.beta2, &gradient.sqr()?)?;
    let correction = 1.0 / (1.0 - step.beta2.powi(steps)).sqrt();
    let below = ((second.sqrt()? * correction)? + step.eps)?;
    let rate = tensor.lr / (1.0 - step.beta1.powi(steps));
    let change = ((&first * rate)? / below)?;
    let kept = (tensor.value.as_detached_tensor() * (1.0 - tensor.lr * tensor.weight_decay))?;
    tensor.first.set(&first)?;
    tensor.second.set(&second)?;
    tensor.value.set(&(kept - change)?)
}

/// `decay moment + (1 - decay) x`.
fn moved(moment: &Var, decay: f64, x: &Tensor) -> Result<Tensor> {
    (moment.as_detached_tensor() * decay)? + (x * (1.0 - decay))?
}

/// The update of one tensor: see [`lars`](crate::lars()).
///
/// # Errors
/// When the shapes do not fit.
pub fn lars(tensor: &LarsTensor<'_>, step: &LarsStep) -> Result<()> {
    let value = tensor.value.as_detached_tensor();
    let mut update = (tensor.gradient.detach() * step.gradient_scale)?;
    if value.rank() > 1 {
        update = (update + (&value * tensor.weight_decay)?)?;
        let (own, of_update) = (squares(&value)?.sqrt(), squares(&update)?.sqrt());
        if own > 0.0 && of_update > 0.0 {
            update = (update * (step.trust_coefficient * own / of_update))?;
        }
    }
    let momentum = ((tensor.momentum.as_detached_tensor() * step.momentum)? + update)?;
    tensor.momentum.set(&momentum)?;
    tensor.value.set(&(value - (momentum * tensor.lr)?)?)
}

/// The sum of squares, brought to the host.
///
/// # Errors
/// When it is not a tensor of f32.
pub fn squares(x: &Tensor) -> Result<f64> {
    Ok(f64::from(x.detach().flatten_all()?.sqr()?.sum_all()?.to_scalar::<f32>()?))
}
