//! Where kernels run: on a GPU, or in tests on the CPU, by an emulator.

#[cfg(feature = "cuda")]
use candle_core::cuda_backend::CudaDevice;
use candle_core::{DType, Device, Result, Shape, Tensor, bail};

/// What kernels run on.
#[derive(Clone)]
pub(super) enum Place {
    #[cfg(feature = "cuda")]
    Gpu(CudaDevice),
    #[cfg(test)]
    Emulator,
}

impl Place {
    /// Where a tensor lies.
    pub fn of(tensor: &Tensor) -> Result<Self> {
        match tensor.device() {
            #[cfg(feature = "cuda")]
            Device::Cuda(device) => Ok(Self::Gpu(device.clone())),
            #[cfg(test)]
            Device::Cpu => Ok(Self::Emulator),
            other => bail!("expected a tensor on a GPU, found one on {:?}", other.location()),
        }
    }

    /// A tensor of numbers of any value, to be written by a kernel before anything reads it.
    pub fn unset(&self, shape: impl Into<Shape>, dtype: DType) -> Result<Tensor> {
        match self {
            #[cfg(feature = "cuda")]
            Self::Gpu(device) => super::tensors::unset(device, shape.into(), dtype),
            #[cfg(test)]
            Self::Emulator => Tensor::full(f32::NAN, shape, &Device::Cpu)?.to_dtype(dtype),
        }
    }
}
