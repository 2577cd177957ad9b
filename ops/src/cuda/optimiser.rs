//! Updates where weights, moments and averages lie.

use candle_core::{DType, Result, Tensor, bail};

use super::kernel::Argument::{Address, Float, Size};
use super::kernel::{Argument, Geometry, launch};
use super::place::Place;
use super::tensors::address;
use crate::rows::adamw::Factors;

/// Numbers of which a block sums the squares.
const CHUNK: usize = 1 << 14;

/// The kernels take four numbers a thread.
fn fours(count: usize) -> Geometry {
    Geometry::numbers(count.div_ceil(4))
}

fn same_count(a: &Tensor, b: &Tensor) -> Result<usize> {
    match a.elem_count() == b.elem_count() {
        true => Ok(a.elem_count()),
        false => bail!("a tensor of shape {:?} beside one of {:?}", a.dims(), b.dims()),
    }
}

/// One tensor's update; sizes were checked.
pub(crate) fn adamw(
    value: &Tensor,
    first: &Tensor,
    second: &Tensor,
    gradient: &Tensor,
    factors: &Factors,
) -> Result<()> {
    let gradient = gradient.contiguous()?;
    let count = value.elem_count();
    let f = *factors;
    let arguments = [
        Address(address(value, DType::F32)?),
        Address(address(first, DType::F32)?),
        Address(address(second, DType::F32)?),
        Address(address(&gradient, DType::F32)?),
        Size(count as u64),
        Float(f.beta1),
        Float(f.beta2),
        Float(f.eps),
        Float(f.keep),
        Float(f.rate),
        Float(f.correction),
        Float(f.gradient_scale),
    ];
    // SAFETY: `adamw(value, first, second, gradient, n, beta1, beta2, eps, keep, rate, correction, gradient_scale)`, all of
    // this size.
    unsafe { launch(&Place::of(value)?, "adamw", fours(count), &arguments) }
}

/// The sums of squares of each tensor. It waits for the device, once.
pub(crate) fn squares(tensors: &[&Tensor]) -> Result<Vec<f64>> {
    let Some(first) = tensors.first() else { return Ok(Vec::new()) };
    let place = Place::of(first)?;
    let sums = place.unset(tensors.len(), DType::F64)?;
    for (number, tensor) in tensors.iter().enumerate() {
        let tensor = tensor.contiguous()?;
        let count = tensor.elem_count();
        let parts = count.div_ceil(CHUNK);
        let partial = place.unset(parts, DType::F64)?;
        let of_partial = Address(address(&partial, DType::F64)?);
        let own = Address(address(&sums.narrow(0, number, 1)?, DType::F64)?);
        let arguments = [
            Address(address(&tensor, DType::F32)?),
            of_partial,
            Size(count as u64),
            Argument::int(CHUNK)?,
        ];
        // SAFETY: `squares_partials(x, partial, n, chunk)` and `squares_finish(partial, out, count)`, of these sizes.
        unsafe {
            launch(&place, "squares_partials", Geometry::blocks(parts, 256), &arguments)?;
            let arguments = [of_partial, own, Argument::int(parts)?];
            launch(&place, "squares_finish", Geometry::blocks(1, 256), &arguments)?;
        }
    }
    sums.to_vec1()
}

/// `average += (x - average) * weight`.
pub(crate) fn lerp(average: &Tensor, x: &Tensor, weight: f32) -> Result<()> {
    let x = x.contiguous()?;
    let count = same_count(average, &x)?;
    let arguments = [
        Address(address(average, DType::F32)?),
        Address(address(&x, DType::F32)?),
        Size(count as u64),
        Float(weight),
    ];
    // SAFETY: `lerp(average, x, n, weight)`, of this size.
    unsafe { launch(&Place::of(average)?, "lerp", fours(count), &arguments) }
}

/// Exchanges two tensors' numbers.
pub(crate) fn swap(a: &Tensor, b: &Tensor) -> Result<()> {
    let count = same_count(a, b)?;
    let arguments =
        [Address(address(a, DType::F32)?), Address(address(b, DType::F32)?), Size(count as u64)];
    // SAFETY: `swap(a, b, n)`, of this size.
    unsafe { launch(&Place::of(a)?, "swap", fours(count), &arguments) }
}

/// `sum += x`.
pub(crate) fn add_in_place(sum: &Tensor, x: &Tensor) -> Result<()> {
    let x = x.contiguous()?;
    let count = same_count(sum, &x)?;
    let arguments = [
        Address(address(sum, DType::F32)?),
        Address(address(&x, DType::F32)?),
        Size(count as u64),
        Float(1.0),
    ];
    // SAFETY: `add_scaled(sum, x, n, factor)`, of this size.
    unsafe { launch(&Place::of(sum)?, "add_scaled", fours(count), &arguments) }
}
