use std::sync::{Arc, Mutex, PoisonError};

use candle_core::cuda_backend::CudaDevice;
use candle_core::cuda_backend::cudarc::driver::{
    CudaSlice, CudaStream, DriverError, PinnedHostSlice,
};
use candle_core::op::BackpropOp;
use candle_core::{CudaStorage, Result, Shape, Storage, Tensor, bail};

/// The way of batches to a GPU while it computes: pinned memory, and a stream of its own. Room is kept from one batch to the
/// next; there is as much of it as there are batches under way.
pub(crate) struct Staging {
    device: CudaDevice,
    stream: Arc<CudaStream>,
    idle: Mutex<Vec<Room>>,
}

/// Memory of both sides, as large as the largest batch so far.
struct Room {
    pinned: PinnedHostSlice<f32>,
    staged: CudaSlice<f32>,
}

/// Numbers on their way to a GPU, or there.
pub(crate) struct Staged {
    staging: Arc<Staging>,
    /// Until it is dropped.
    room: Option<Room>,
    shape: Shape,
}

fn failed<T>(what: &str, found: std::result::Result<T, DriverError>) -> Result<T> {
    match found {
        Ok(value) => Ok(value),
        Err(error) => bail!("bringing a batch to the GPU, {what}: {error}"),
    }
}

impl Staging {
    pub fn new(device: &CudaDevice) -> Result<Arc<Self>> {
        let stream = failed("a stream", device.cuda_stream().context().new_stream())?;
        Ok(Arc::new(Self { device: device.clone(), stream, idle: Mutex::default() }))
    }

    /// Begins to bring numbers of a shape to the GPU.
    pub fn begin(self: &Arc<Self>, numbers: &[f32], shape: Shape) -> Result<Staged> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut room = match idle.filter(|room| room.pinned.len() >= numbers.len()) {
            Some(room) => room,
            None => self.room(numbers.len())?,
        };
        let pinned = failed("pinned memory", room.pinned.as_mut_slice())?;
        pinned[..numbers.len()].copy_from_slice(numbers);
        // On the GPU it waits for the last copy out of this room.
        let copied = self.stream.memcpy_htod(&room.pinned, &mut room.staged);
        failed("the copy", copied)?;
        Ok(Staged { staging: self.clone(), room: Some(room), shape })
    }

    fn room(&self, count: usize) -> Result<Room> {
        // SAFETY: what of pinned memory is not written before it is copied lies beyond a batch; whatever it is, it is f32s,
        // and nobody reads the copy of it. The GPU's is written by that copy.
        let (pinned, staged) =
            unsafe { (self.stream.context().alloc_pinned(count), self.stream.alloc(count)) };
        Ok(Room { pinned: failed("pinned memory", pinned)?, staged: failed("memory", staged)? })
    }
}

impl Staged {
    /// A copy on the GPU, to be used by what the device's stream gets from now on.
    pub fn tensor(&self) -> Result<Tensor> {
        let Some(room) = &self.room else { bail!("a batch that was dropped") };
        let (device, count) = (&self.staging.device, self.shape.elem_count());
        // SAFETY: the copy below writes all of it.
        let mut own = unsafe { device.alloc::<f32>(count)? };
        device.memcpy_dtod(&room.staged.slice(..count), &mut own)?;
        let storage = CudaStorage::wrap_cuda_slice(own, device.clone());
        let storage = Storage::Cuda(storage);
        Ok(Tensor::from_storage(storage, self.shape.clone(), BackpropOp::none(), false))
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        let idle = self.staging.idle.lock();
        idle.unwrap_or_else(PoisonError::into_inner).extend(self.room.take());
    }
}
