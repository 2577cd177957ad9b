use candle_core::{CpuStorage, CustomOp3, D, Layout, Result, Shape, Tensor, bail};
use half::bf16;

use crate::activation::Activation;
use crate::buffer::unset;
use crate::element::Element;
use crate::gemm::{Store, Transposed, gemm};
use crate::matrix::{Rows, RowsMut};
use crate::numbers::{Numbers, slice};
use crate::product::{outer, through};
use crate::rows::convert::column_sums;
use crate::{Affine, Compute, Init, Params, Precision, reference};

/// A linear layer: `weight` `[outputs, inputs]` and `bias` `[outputs]`.
#[derive(Debug, Clone)]
pub struct Linear {
    affine: Affine,
    compute: Compute,
}

impl Linear {
    /// Defines the two parameters: Xavier uniform and zero, as MAE starts (arXiv 2111.06377, A.1).
    ///
    /// # Errors
    /// When a parameter's name is taken.
    pub fn new(inputs: usize, outputs: usize, params: &Params) -> crate::Result<Self> {
        let init = Init::XavierUniform { fan_in: inputs, fan_out: outputs };
        let weight = params.weight("weight", (outputs, inputs), init)?;
        let bias = params.weight("bias", outputs, Init::Zeros)?;
        Ok(Self { affine: Affine { weight, bias }, compute: params.compute() })
    }

    /// The parameters.
    pub fn affine(&self) -> &Affine {
        &self.affine
    }

    /// Maps `[.., inputs]` to `[.., outputs]`.
    ///
    /// # Errors
    /// When the shapes do not fit.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        linear(x, &self.affine.weight, Some(&self.affine.bias), self.compute)
    }
}

/// `x W^T + b` over the last dimension, with a gradient for all three.
///
/// # Shapes
/// `x` `[.., in]`, `weight` `[out, in]`, `bias` `[out]`; the result is `[.., out]`.
///
/// # Errors
/// When the shapes do not fit.
pub fn linear(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    compute: Compute,
) -> Result<Tensor> {
    if !compute.fused(x.device()) && !compute.fused_on_gpu(x.device()) {
        return reference::linear(x, weight, bias);
    }
    let (outputs, inputs) = weight.dims2()?;
    if x.rank() == 0 || x.dim(D::Minus1)? != inputs {
        bail!("a linear layer of {inputs} inputs was given {:?}", x.dims());
    }
    let bias = match bias {
        Some(bias) if bias.dims() == [outputs] => bias.clone(),
        Some(bias) => bail!("a bias of shape {:?}, expected [{outputs}]", bias.dims()),
        None => Tensor::zeros(outputs, candle_core::DType::F32, x.device())?,
    };
    let (x, weight) = (x.contiguous()?, weight.contiguous()?);
    let bias = bias.contiguous()?;
    #[cfg(feature = "cuda")]
    if compute.fused_on_gpu(x.device()) {
        let primitives = crate::cuda::primitives(&x, compute.precision)?;
        return crate::device::linear(primitives, &x, &weight, &bias);
    }
    match compute.precision {
        Precision::Fp32 => x.apply_op3(&weight, &bias, LinearOp::<f32>::new()),
        Precision::Bf16 => x.apply_op3(&weight, &bias, LinearOp::<bf16>::new()),
    }
}

/// A matrix product `a b`, with a gradient for both.
///
/// # Shapes
/// `a` `[.., inner]`, `b` `[inner, columns]`; the result is `[.., columns]`. Transposed views are welcome.
///
/// # Errors
/// When the shapes do not fit.
pub fn matmul(a: &Tensor, b: &Tensor, compute: Compute) -> Result<Tensor> {
    linear(a, &b.t()?, None, compute)
}

struct LinearOp<T>(std::marker::PhantomData<fn(T)>);

impl<T> LinearOp<T> {
    fn new() -> Self {
        Self(std::marker::PhantomData)
    }
}

impl<T: Element> CustomOp3 for LinearOp<T> {
    fn name(&self) -> &'static str {
        "linear"
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
        let (outputs, inputs) = weight_layout.shape().dims2()?;
        let mut shape = x_layout.dims().to_vec();
        shape.pop();
        let rows = shape.iter().product();
        shape.push(outputs);
        let a = Activation::<T>::of(Rows::dense(slice(x, x_layout)?, rows, inputs), None);
        let weight = Rows::dense(slice(weight, weight_layout)?, outputs, inputs);
        let bias = slice(bias, bias_layout)?;
        let mut out = unset::<f32>(rows * outputs);
        let store = Store { out: RowsMut::dense(&mut out, rows, outputs), bias: Some(bias) };
        gemm(a.rows(), &Transposed(weight), &store);
        Ok((CpuStorage::F32(out), Shape::from(shape)))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        _out: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (outputs, inputs) = weight.dims2()?;
        let rows = x.dims().iter().rev().skip(1).product();
        let gradient = gradient.contiguous()?;
        let dy = Activation::<T>::of(Rows::dense(&Numbers::of(&gradient)?, rows, outputs), None);
        let dy = dy.rows();
        let device = x.device();
        let dx = x.track_op().then(|| {
            let mut out = unset::<f32>(rows * inputs);
            through(
                weight,
                dy,
                &Store { out: RowsMut::dense(&mut out, rows, inputs), bias: None },
            )?;
            Tensor::from_vec(out, x.shape(), device)
        });
        let dw = weight.track_op().then(|| {
            let mut out = unset::<f32>(outputs * inputs);
            let a = Activation::<T>::of(Rows::dense(&Numbers::of(x)?, rows, inputs), None);
            outer(dy, a.rows(), RowsMut::dense(&mut out, outputs, inputs), false);
            Tensor::from_vec(out, weight.shape(), device)
        });
        let db = bias.track_op().then(|| Tensor::from_vec(column_sums(dy), bias.shape(), device));
        Ok((dx.transpose()?, dw.transpose()?, db.transpose()?))
    }
}
