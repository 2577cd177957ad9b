//! Running averages of weights.

use candle_core::{Result, Tensor, Var, bail};

use crate::matrix::SharedMut;
use crate::numbers::{Numbers, change};
use crate::parallel::{in_pool, parallel_pieces};
use crate::rows::average::lerp;

/// Numbers that a task averages.
const PIECE: usize = 1 << 15;

/// `average += (x - average) * weight` where `average` lies, as PyTorch's `lerp_` in `swa_utils.get_ema_multi_avg_fn`:
/// `weight` is 1 less the decay.
///
/// # Errors
/// When the tensors are not contiguous f32, are of different shapes, or one and the same.
pub fn lerp_in_place(average: &Var, x: &Tensor, weight: f64) -> Result<()> {
    check(average, x)?;
    let x = x.contiguous()?;
    if !x.device().is_cpu() {
        return lerp_on_device(average, &x, weight);
    }
    let x = Numbers::of(&x)?;
    let x: &[f32] = &x;
    change(average.as_tensor(), |average| {
        let shared = SharedMut::new(average);
        in_pool(|| {
            parallel_pieces(x.len(), PIECE, |start, end| {
                // SAFETY: each task has its own part.
                lerp(unsafe { shared.part(start, end) }, &x[start..end], weight as f32);
            });
        });
    })
}

/// Exchanges the values of two variables, bit for bit, without a copy of either where the device has a kernel for it.
///
/// # Errors
/// When they are not contiguous f32, are of different shapes, or one and the same.
pub fn swap_in_place(a: &Var, b: &Var) -> Result<()> {
    check(a, b.as_tensor())?;
    if !a.device().is_cpu() {
        return swap_on_device(a, b);
    }
    let mut inner = Ok(());
    change(a.as_tensor(), |a| inner = change(b.as_tensor(), |b| a.swap_with_slice(b)))?;
    inner
}

fn lerp_on_device(average: &Var, x: &Tensor, weight: f64) -> Result<()> {
    #[cfg(feature = "cuda")]
    if x.device().is_cuda() {
        return crate::cuda::lerp(average, x, weight as f32);
    }
    let own = average.as_detached_tensor();
    average.set(&(&own + ((x.detach() - &own)? * weight)?)?)
}

fn swap_on_device(a: &Var, b: &Var) -> Result<()> {
    #[cfg(feature = "cuda")]
    if a.device().is_cuda() {
        return crate::cuda::swap(a, b);
    }
    let (of_a, of_b) = (a.as_detached_tensor().copy()?, b.as_detached_tensor());
    a.set(&of_b)?;
    b.set(&of_a)
}

fn check(a: &Var, b: &Tensor) -> Result<()> {
    if a.shape() != b.shape() {
        bail!("a tensor of shape {:?} beside one of {:?}", a.dims(), b.dims());
    }
    // Its storage cannot be locked twice.
    if a.as_tensor().id() == b.id() {
        bail!("a variable beside itself");
    }
    Ok(())
}
