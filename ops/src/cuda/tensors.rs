//! Tensors on a GPU as the kernels see them: addresses.

use candle_core::cuda_backend::cudarc::driver::{CudaStream, DevicePtr};
use candle_core::cuda_backend::{CudaDevice, CudaStorageSlice};
use candle_core::op::BackpropOp;
use candle_core::{CudaStorage, DType, Device, Layout, Result, Shape, Storage, Tensor, bail};
use half::bf16;

/// The GPU that a tensor lies on.
pub(super) fn device_of(tensor: &Tensor) -> Result<CudaDevice> {
    match tensor.device() {
        Device::Cuda(device) => Ok(device.clone()),
        other => bail!("expected a tensor on a GPU, found one on {:?}", other.location()),
    }
}

/// A tensor of numbers of any value, to be written by a kernel before anything reads it.
pub(super) fn unset(device: &CudaDevice, shape: impl Into<Shape>, dtype: DType) -> Result<Tensor> {
    let shape = shape.into();
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
/// When it is of another type, not contiguous, or not on a GPU.
pub(super) fn address(tensor: &Tensor, dtype: DType) -> Result<u64> {
    let (storage, layout) = tensor.storage_and_layout();
    let Storage::Cuda(storage) = &*storage else {
        bail!("expected a tensor on a GPU, found one on {:?}", tensor.device().location())
    };
    if tensor.dtype() != dtype {
        bail!("expected {dtype:?}, found {:?}", tensor.dtype());
    }
    let first = first(layout)?;
    let stream = storage.device.cuda_stream();
    let start = match &storage.slice {
        CudaStorageSlice::F32(slice) => start(slice, &stream),
        CudaStorageSlice::F64(slice) => start(slice, &stream),
        CudaStorageSlice::BF16(slice) => start(slice, &stream),
        CudaStorageSlice::U32(slice) => start(slice, &stream),
        _ => bail!("no kernel reads {dtype:?}"),
    };
    Ok(start + (first * dtype.size_in_bytes()) as u64)
}

fn first(layout: &Layout) -> Result<usize> {
    match layout.contiguous_offsets() {
        Some((first, _)) => Ok(first),
        None => bail!("expected a contiguous tensor, found strides {:?}", layout.stride()),
    }
}

fn start<T>(slice: &impl DevicePtr<T>, stream: &CudaStream) -> u64 {
    // What comes with the address would mark the end of a use on another stream: there is one stream.
    slice.device_ptr(stream).0
}

/// [`address`], or a null pointer.
pub(super) fn address_or_null(tensor: Option<&Tensor>, dtype: DType) -> Result<u64> {
    tensor.map_or(Ok(0), |tensor| address(tensor, dtype))
}
