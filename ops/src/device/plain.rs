//! The primitives in candle's own operations: what kernels of devices must give.

use candle_core::{D, DType, Result, Tensor};

use super::primitives::{Attended, Heads, Primitives, Product};
use crate::reference;

/// f32 everywhere.
pub(crate) struct Plain;

/// A factor for each of as many equal parts of `x` as there are.
fn scaled(x: &Tensor, scales: &Tensor) -> Result<Tensor> {
    let parts = x.reshape((scales.elem_count(), ()))?;
    parts.broadcast_mul(&scales.unsqueeze(1)?)?.reshape(x.shape())
}

fn moments(moments: &Tensor) -> Result<(Tensor, Tensor)> {
    Ok((moments.narrow(1, 0, 1)?, moments.narrow(1, 1, 1)?))
}

fn normalised(x: &Tensor, of: &Tensor) -> Result<Tensor> {
    let (mean, inverse) = moments(of)?;
    x.broadcast_sub(&mean)?.broadcast_mul(&inverse)
}

impl Primitives for Plain {
    fn operand(&self) -> DType {
        DType::F32
    }

    fn cast(&self, x: &Tensor, scales: Option<&Tensor>, to: DType) -> Result<Tensor> {
        match scales {
            Some(scales) => scaled(x, scales)?.to_dtype(to),
            None => x.to_dtype(to),
        }
    }

    fn product(&self, a: &Tensor, b: &Tensor, product: &Product<'_>, _: DType) -> Result<Tensor> {
        let a = if product.transposed_a { a.t()? } else { a.clone() };
        let b = if product.transposed_b { b.t()? } else { b.clone() };
        let mut out = a.matmul(&b)?;
        if let Some(bias) = product.bias {
            out = out.broadcast_add(bias)?;
        }
        match product.add {
            Some(add) => out + add,
            None => Ok(out),
        }
    }

    fn column_sums(&self, x: &Tensor) -> Result<Tensor> {
        x.sum(0)
    }

    fn residual(&self, x: &Tensor, y: &Tensor, scales: &Tensor) -> Result<Tensor> {
        x + scaled(y, scales)?
    }

    fn norm(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        eps: f64,
        _: DType,
    ) -> Result<(Tensor, Tensor)> {
        let mean = x.mean_keepdim(D::Minus1)?;
        let variance = x.broadcast_sub(&mean)?.sqr()?.mean_keepdim(D::Minus1)?;
        let moments = Tensor::cat(&[mean, (variance + eps)?.sqrt()?.recip()?], 1)?;
        let out = normalised(x, &moments)?.broadcast_mul(weight)?.broadcast_add(bias)?;
        Ok((out, moments))
    }

    fn norm_backward(
        &self,
        x: &Tensor,
        weight: &Tensor,
        of: &Tensor,
        gradient: &Tensor,
        add: Option<&Tensor>,
    ) -> Result<Tensor> {
        let hat = normalised(x, of)?;
        let slope = gradient.broadcast_mul(weight)?;
        let mean = slope.mean_keepdim(D::Minus1)?;
        let along = (&slope * &hat)?.mean_keepdim(D::Minus1)?;
        let inner = slope.broadcast_sub(&mean)?.sub(&hat.broadcast_mul(&along)?)?;
        let out = inner.broadcast_mul(&moments(of)?.1)?;
        match add {
            Some(add) => out + add,
            None => Ok(out),
        }
    }

    fn norm_parameters(
        &self,
        x: &Tensor,
        of: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Tensor, Tensor)> {
        Ok(((gradient * normalised(x, of)?)?.sum(0)?, gradient.sum(0)?))
    }

    fn gelu(&self, x: &Tensor) -> Result<Tensor> {
        x.gelu_erf()
    }

    fn gelu_backward(&self, x: &Tensor, gradient: Tensor) -> Result<Tensor> {
        let below = ((x * std::f64::consts::FRAC_1_SQRT_2)?.erf()? * 0.5)? + 0.5;
        let density = ((x.sqr()? * -0.5)?.exp()? * (1.0 / std::f64::consts::TAU.sqrt()))?;
        gradient * (below? + (x * density)?)?
    }

    fn attention(&self, qkv: &Tensor, heads: Heads) -> Result<Attended> {
        let packed = qkv.reshape((heads.batch, heads.tokens, 3 * heads.dim()))?;
        let out =
            reference::attention(&packed, heads.heads)?.reshape((heads.rows(), heads.dim()))?;
        // The backward pass below computes them again.
        let log_sums = Tensor::zeros(1, DType::F32, qkv.device())?;
        Ok(Attended { out, log_sums })
    }

    fn attention_backward(
        &self,
        qkv: &Tensor,
        _: &Attended,
        gradient: &Tensor,
        heads: Heads,
    ) -> Result<Tensor> {
        let qkv = candle_core::Var::from_tensor(qkv)?;
        let out = self.attention(qkv.as_tensor(), heads)?.out;
        let slopes = (out * gradient)?.sum_all()?.backward()?;
        match slopes.get(qkv.as_tensor()) {
            Some(slopes) => slopes.contiguous(),
            None => candle_core::bail!("attention without a gradient"),
        }
    }
}
