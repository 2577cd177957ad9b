//! Tensors as the kernels see them: addresses.

#[cfg(test)]
use candle_core::CpuStorage;
#[cfg(feature = "cuda")]
use candle_core::cuda_backend::cudarc::driver::{CudaStream, DevicePtr};
#[cfg(feature = "cuda")]
use candle_core::cuda_backend::{CudaDevice, CudaStorageSlice};
#[cfg(feature = "cuda")]
use candle_core::op::BackpropOp;
#[cfg(feature = "cuda")]
use candle_core::{CudaStorage, Shape};
use candle_core::{DType, Result, Storage, Tensor, bail};

/// A tensor on a GPU of numbers of any value, to be written by a kernel before anything reads it.
#[cfg(feature = "cuda")]
pub(super) fn unset(device: &CudaDevice, shape: Shape, dtype: DType) -> Result<Tensor> {
    use half::bf16;

    // An allocation of nothing is an error there.
    let count = shape.elem_count().max(1);
    // SAFETY: f32, f64 and bf16 have no bits that are no number, and every caller hands it to a kernel as its output.
    let storage = unsafe {
        match dtype {
            DType::F32 => CudaStorage::wrap_cuda_slice(device.alloc::<f32>(count)?, device.clone()),
            DType::F64 => CudaStorage::wrap_cuda_slice(device.alloc::<f64>(count)?, device.clone()),
            DType::BF16 => {
                CudaStorage::wrap_cuda_slice(device.alloc::<bf16>(count)?, device.clone())
            }
            other => bail!("no kernel writes {other:?}"),
        }
    };
    Ok(Tensor::from_storage(Storage::Cuda(storage), shape, BackpropOp::none(), false))
}

/// Where a contiguous tensor's numbers of a type begin; right as long as the tensor lives.
///
/// # Errors
/// When it is of another type, not contiguous, or not where kernels run.
pub(super) fn address(tensor: &Tensor, dtype: DType) -> Result<u64> {
    if tensor.dtype() != dtype {
        bail!("expected {dtype:?}, found {:?}", tensor.dtype());
    }
    let (storage, layout) = tensor.storage_and_layout();
    let Some((first, _)) = layout.contiguous_offsets() else {
        bail!("expected a contiguous tensor, found strides {:?}", layout.stride())
    };
    let start = match &*storage {
        #[cfg(feature = "cuda")]
        Storage::Cuda(storage) => {
            let stream = storage.device.cuda_stream();
            match &storage.slice {
                CudaStorageSlice::F32(slice) => start(slice, &stream),
                CudaStorageSlice::F64(slice) => start(slice, &stream),
                CudaStorageSlice::BF16(slice) => start(slice, &stream),
                CudaStorageSlice::U32(slice) => start(slice, &stream),
                _ => bail!("no kernel reads {dtype:?}"),
            }
        }
        #[cfg(test)]
        Storage::Cpu(storage) => match storage {
            CpuStorage::F32(values) => values.as_ptr() as u64,
            CpuStorage::F64(values) => values.as_ptr() as u64,
            CpuStorage::BF16(values) => values.as_ptr() as u64,
            CpuStorage::U32(values) => values.as_ptr() as u64,
            _ => bail!("no kernel reads {dtype:?}"),
        },
        _ => bail!("expected a tensor on a GPU, found one on {:?}", tensor.device().location()),
    };
    Ok(start + (first * dtype.size_in_bytes()) as u64)
}

#[cfg(feature = "cuda")]
fn start<T>(slice: &impl DevicePtr<T>, stream: &CudaStream) -> u64 {
    // What comes with the address would mark the end of a use on another stream: there is one stream.
    slice.device_ptr(stream).0
}

/// [`address`], or a null pointer.
pub(super) fn address_or_null(tensor: Option<&Tensor>, dtype: DType) -> Result<u64> {
    tensor.map_or(Ok(0), |tensor| address(tensor, dtype))
}
