use std::sync::Arc;

use candle_core::{DType, Result, Tensor, bail};

use super::kernel::Argument::{Address, Float, Size};
use super::kernel::{Argument, Geometry, launch, of_type};
use super::place::Place;
use super::tensors::{address, address_or_null};
use crate::Precision;
use crate::device::{Attended, Heads, Primitives, Product};

/// The kernels of a GPU.
pub(crate) struct Gpu {
    place: Place,
    operand: DType,
}

/// The kernels of the GPU that a tensor lies on, for products in a precision.
pub(crate) fn primitives(of: &Tensor, precision: Precision) -> Result<Arc<dyn Primitives>> {
    let operand = match precision {
        Precision::Fp32 => DType::F32,
        Precision::Bf16 => DType::BF16,
    };
    Ok(Arc::new(Gpu { place: Place::of(of)?, operand }))
}

/// Rows of which a block sums one column's numbers: at most 256 sums are left to add.
pub(super) fn chunk(rows: usize) -> (usize, usize) {
    let each = rows.div_ceil(256).max(32);
    (each, rows.div_ceil(each))
}

/// Adds up `[chunks, cols]`.
pub(super) fn finish(partial: &Tensor, place: &Place) -> Result<Tensor> {
    let (chunks, cols) = partial.dims2()?;
    let out = place.unset(cols, DType::F32)?;
    let arguments = [
        Address(address(partial, DType::F32)?),
        Address(address(&out, DType::F32)?),
        Argument::int(chunks)?,
        Argument::int(cols)?,
        Argument::Int(0),
    ];
    // SAFETY: `column_finish(partial, out, chunks, cols, accumulate)`, of these sizes.
    unsafe {
        launch(place, "column_finish", Geometry::blocks(cols.div_ceil(32), 256), &arguments)?;
    }
    Ok(out)
}

/// Numbers of each of as many equal parts of `x` as there are factors.
fn share(x: &Tensor, scales: Option<&Tensor>) -> Result<usize> {
    let (count, parts) = (x.elem_count(), scales.map_or(1, Tensor::elem_count));
    if parts == 0 || !count.is_multiple_of(parts) {
        bail!("{parts} factors for {count} numbers");
    }
    Ok(count / parts)
}

impl Primitives for Gpu {
    fn operand(&self) -> DType {
        self.operand
    }

    fn cast(&self, x: &Tensor, scales: Option<&Tensor>, to: DType) -> Result<Tensor> {
        if scales.is_none() && x.dtype() == to {
            return Ok(x.clone());
        }
        if x.dtype() != DType::F32 {
            return x.to_dtype(to);
        }
        let (count, share) = (x.elem_count(), share(x, scales)?);
        let out = self.place.unset(x.shape(), to)?;
        let arguments = [
            Address(address(x, DType::F32)?),
            Address(address_or_null(scales, DType::F32)?),
            Address(address(&out, to)?),
            Size(count as u64),
            Size(share as u64),
        ];
        let name = of_type("scale_cast", to)?;
        // SAFETY: `scale_cast(x, scales, out, n, per_sample)`, of these sizes.
        unsafe { launch(&self.place, &name, Geometry::numbers(count), &arguments)? };
        Ok(out)
    }

    fn product(&self, a: &Tensor, b: &Tensor, product: &Product<'_>, out: DType) -> Result<Tensor> {
        match &self.place {
            #[cfg(feature = "cuda")]
            Place::Gpu(device) => super::context::lt(device)?.product(a, b, product, out),
            #[cfg(test)]
            Place::Emulator => super::emulated::product(a, b, product, out),
        }
    }

    fn column_sums(&self, x: &Tensor) -> Result<Tensor> {
        let (rows, cols) = x.dims2()?;
        let (each, chunks) = chunk(rows);
        let partial = self.place.unset((chunks, cols), DType::F32)?;
        let arguments = [
            Address(address(x, x.dtype())?),
            Address(address(&partial, DType::F32)?),
            Argument::int(rows)?,
            Argument::int(cols)?,
            Argument::int(each)?,
        ];
        let geometry = Geometry { grid: (cols.div_ceil(128), chunks, 1), threads: 128 };
        let name = of_type("column_partials", x.dtype())?;
        // SAFETY: `column_partials(x, partial, rows, cols, rows_per_chunk)`, of these sizes.
        unsafe { launch(&self.place, &name, geometry, &arguments)? };
        finish(&partial, &self.place)
    }

    fn residual(&self, x: &Tensor, y: &Tensor, scales: &Tensor) -> Result<Tensor> {
        let (count, share) = (x.elem_count(), share(x, Some(scales))?);
        if y.elem_count() != count {
            bail!("{} numbers to add to {count}", y.elem_count());
        }
        let out = self.place.unset(x.shape(), DType::F32)?;
        let arguments = [
            Address(address(x, DType::F32)?),
            Address(address(y, DType::F32)?),
            Address(address(scales, DType::F32)?),
            Address(address(&out, DType::F32)?),
            Size(count as u64),
            Size(share as u64),
        ];
        // SAFETY: `residual_scaled(x, y, scales, out, n, per_sample)`, of these sizes.
        unsafe {
            launch(&self.place, "residual_scaled", Geometry::numbers(count), &arguments)?;
        }
        Ok(out)
    }

    fn norm(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        eps: f64,
        out: DType,
    ) -> Result<(Tensor, Tensor)> {
        let (rows, cols) = x.dims2()?;
        check_norm(cols, [weight, bias])?;
        let (normed, moments) =
            (self.place.unset((rows, cols), out)?, self.place.unset((rows, 2), DType::F32)?);
        let arguments = [
            Address(address(x, DType::F32)?),
            Address(address(weight, DType::F32)?),
            Address(address(bias, DType::F32)?),
            Address(address(&normed, out)?),
            Address(address(&moments, DType::F32)?),
            Argument::int(rows)?,
            Argument::int(cols)?,
            Float(eps as f32),
        ];
        let name = of_type("norm_forward", out)?;
        // SAFETY: `norm_forward(x, weight, bias, out, moments, rows, dim, eps)`, of these sizes.
        unsafe { launch(&self.place, &name, Geometry::blocks(rows.div_ceil(4), 128), &arguments)? };
        Ok((normed, moments))
    }

    fn norm_backward(
        &self,
        x: &Tensor,
        weight: &Tensor,
        moments: &Tensor,
        gradient: &Tensor,
        add: Option<&Tensor>,
    ) -> Result<Tensor> {
        let (rows, cols) = x.dims2()?;
        check_norm(cols, [weight])?;
        check_same(x, gradient)?;
        add.map_or(Ok(()), |add| check_same(x, add))?;
        let out = self.place.unset((rows, cols), DType::F32)?;
        let arguments = [
            Address(address(x, DType::F32)?),
            Address(address(weight, DType::F32)?),
            Address(address(moments, DType::F32)?),
            Address(address(gradient, gradient.dtype())?),
            Address(address_or_null(add, DType::F32)?),
            Address(address(&out, DType::F32)?),
            Argument::int(rows)?,
            Argument::int(cols)?,
        ];
        let name = of_type("norm_backward", gradient.dtype())?;
        // SAFETY: `norm_backward(x, weight, moments, dy, add, dx, rows, dim)`, of these sizes.
        unsafe { launch(&self.place, &name, Geometry::blocks(rows.div_ceil(4), 128), &arguments)? };
        Ok(out)
    }

    fn norm_parameters(
        &self,
        x: &Tensor,
        moments: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Tensor, Tensor)> {
        let (rows, cols) = x.dims2()?;
        check_same(x, gradient)?;
        let (each, chunks) = chunk(rows);
        let partial = self.place.unset((chunks, 2 * cols), DType::F32)?;
        let arguments = [
            Address(address(x, DType::F32)?),
            Address(address(moments, DType::F32)?),
            Address(address(gradient, gradient.dtype())?),
            Address(address(&partial, DType::F32)?),
            Argument::int(rows)?,
            Argument::int(cols)?,
            Argument::int(each)?,
        ];
        let geometry = Geometry { grid: (cols.div_ceil(128), chunks, 1), threads: 128 };
        let name = of_type("norm_parameters", gradient.dtype())?;
        // SAFETY: `norm_parameters(x, moments, dy, partial, rows, dim, rows_per_chunk)`, of these sizes.
        unsafe { launch(&self.place, &name, geometry, &arguments)? };
        let both = finish(&partial, &self.place)?;
        Ok((both.narrow(0, 0, cols)?, both.narrow(0, cols, cols)?))
    }

    fn gelu(&self, x: &Tensor) -> Result<Tensor> {
        let out = self.place.unset(x.shape(), x.dtype())?;
        let count = x.elem_count();
        let arguments = [
            Address(address(x, x.dtype())?),
            Address(address(&out, x.dtype())?),
            Size(count as u64),
        ];
        let name = of_type("gelu_forward", x.dtype())?;
        // SAFETY: `gelu_forward(before, after, n)`, of these sizes.
        unsafe { launch(&self.place, &name, Geometry::numbers(count), &arguments)? };
        Ok(out)
    }

    fn gelu_backward(&self, x: &Tensor, gradient: Tensor) -> Result<Tensor> {
        check_same(x, &gradient)?;
        let count = x.elem_count();
        let arguments = [
            Address(address(x, x.dtype())?),
            Address(address(&gradient, x.dtype())?),
            Size(count as u64),
        ];
        let name = of_type("gelu_backward", x.dtype())?;
        // SAFETY: `gelu_backward(before, dy, n)`, of these sizes; the trait lets the gradient be written over.
        unsafe { launch(&self.place, &name, Geometry::numbers(count), &arguments)? };
        Ok(gradient)
    }

    fn attention(&self, qkv: &Tensor, heads: Heads) -> Result<Attended> {
        let dtype = qkv.dtype();
        check_qkv(qkv, heads)?;
        let (name, geometry) = attention_kernel("attention_forward", heads, dtype)?;
        let qkv = &aligned(qkv)?;
        let out = self.place.unset((heads.rows(), heads.dim()), dtype)?;
        let sums = self.place.unset((heads.batch, heads.heads, heads.tokens), DType::F32)?;
        let mut arguments = vec![
            Address(address(qkv, dtype)?),
            Address(address(&out, dtype)?),
            Address(address(&sums, DType::F32)?),
        ];
        arguments.extend(sizes(heads)?);
        // SAFETY: `attention_forward(qkv, out, log_sums, batch, tokens, heads, width, scale)`, of these sizes.
        unsafe { launch(&self.place, &name, geometry, &arguments)? };
        Ok(Attended { out, log_sums: sums })
    }

    fn attention_backward(
        &self,
        qkv: &Tensor,
        attended: &Attended,
        gradient: &Tensor,
        heads: Heads,
    ) -> Result<Tensor> {
        let dtype = qkv.dtype();
        check_qkv(qkv, heads)?;
        check_same(&attended.out, gradient)?;
        let (qkv, gradient) = (&aligned(qkv)?, &aligned(gradient)?);
        let delta = self.delta(&attended.out, gradient, heads)?;
        let slopes = self.place.unset((heads.rows(), 3 * heads.dim()), dtype)?;
        let mut arguments = vec![
            Address(address(qkv, dtype)?),
            Address(address(gradient, dtype)?),
            Address(address(&attended.log_sums, DType::F32)?),
            Address(address(&delta, DType::F32)?),
            Address(address(&slopes, dtype)?),
        ];
        arguments.extend(sizes(heads)?);
        for part in ["attention_backward_kv", "attention_backward_q"] {
            let (name, geometry) = attention_kernel(part, heads, dtype)?;
            // SAFETY: `(qkv, dout, log_sums, delta, dqkv, batch, tokens, heads, width, scale)`, of these sizes; the two write
            // all of the result between them.
            unsafe { launch(&self.place, &name, geometry, &arguments)? };
        }
        Ok(slopes)
    }
}

impl Gpu {
    /// Each row's and head's product of what attention gave and its gradient.
    fn delta(&self, out: &Tensor, gradient: &Tensor, heads: Heads) -> Result<Tensor> {
        let (dtype, rows) = (out.dtype(), heads.rows());
        let delta = self.place.unset((heads.batch, heads.heads, heads.tokens), DType::F32)?;
        let arguments = [
            Address(address(out, dtype)?),
            Address(address(gradient, dtype)?),
            Address(address(&delta, DType::F32)?),
            Argument::int(rows)?,
            Argument::int(heads.heads)?,
            Argument::int(heads.width)?,
            Argument::int(heads.tokens)?,
        ];
        let name = of_type("attention_delta", dtype)?;
        let geometry = Geometry::blocks((rows * heads.heads).div_ceil(16), 256);
        // SAFETY: `attention_delta(out, dout, delta, rows, heads, width, tokens)`, of these sizes.
        unsafe { launch(&self.place, &name, geometry, &arguments)? };
        Ok(delta)
    }
}

/// The name of a pass's kernel for heads of a width, and its blocks: so many tokens of a head each.
fn attention_kernel(pass: &str, heads: Heads, dtype: DType) -> Result<(String, Geometry)> {
    let width = heads.width;
    let tile = [32, 64, 96, 128].into_iter().find(|tile| width <= *tile);
    let Some(tile) = tile.filter(|_| width.is_multiple_of(8)) else {
        bail!("attention heads {width} wide: a GPU's kernels take multiples of 8 up to 128")
    };
    let narrow = tile <= 64;
    let (tokens, threads) = match (pass == "attention_forward", dtype) {
        (true, DType::F32) => (if narrow { 64 } else { 32 }, 256),
        (true, _) => (if narrow { 128 } else { 64 }, 128),
        (false, DType::F32) => (if narrow { 32 } else { 16 }, 256),
        (false, _) => (64, 128),
    };
    let grid = (heads.tokens.div_ceil(tokens), heads.heads, heads.batch);
    Ok((of_type(&format!("{pass}_w{tile}"), dtype)?, Geometry { grid, threads }))
}

fn sizes(heads: Heads) -> Result<[Argument; 5]> {
    Ok([
        Argument::int(heads.batch)?,
        Argument::int(heads.tokens)?,
        Argument::int(heads.heads)?,
        Argument::int(heads.width)?,
        Float(heads.scale()),
    ])
}

/// A tensor as attention's kernels read it, sixteen bytes at once: a copy, if it is a part of another that begins between.
fn aligned(x: &Tensor) -> Result<Tensor> {
    match address(x, x.dtype())?.is_multiple_of(16) {
        true => Ok(x.clone()),
        false => x.force_contiguous(),
    }
}

fn check_qkv(qkv: &Tensor, heads: Heads) -> Result<()> {
    if qkv.dims() != [heads.rows(), 3 * heads.dim()] {
        bail!("queries, keys and values {:?} for {heads:?}", qkv.dims());
    }
    Ok(())
}

fn check_same(a: &Tensor, b: &Tensor) -> Result<()> {
    if a.elem_count() != b.elem_count() {
        bail!("{:?} beside {:?}", a.dims(), b.dims());
    }
    Ok(())
}

fn check_norm<const N: usize>(dim: usize, parameters: [&Tensor; N]) -> Result<()> {
    if let Some(other) = parameters.into_iter().find(|tensor| tensor.elem_count() != dim) {
        bail!("a norm of {} numbers for rows of {dim}", other.elem_count());
    }
    Ok(())
}
