use std::sync::{Arc, Mutex, PoisonError};

use candle_core::cuda_backend::CudaDevice;
use candle_core::cuda_backend::cudarc::driver::{
    CudaSlice, CudaStream, DriverError, PinnedHostSlice,
};
use candle_core::op::BackpropOp;
use candle_core::{CudaStorage, Device, Result, Shape, Storage, Tensor, bail};

/// Brings batches to a GPU while it computes: by pinned memory and a stream of its own.
///
/// Whoever makes a batch, on whatever thread, begins; whoever needs it ends, and waits for nothing but a copy on the GPU. Room
/// is kept from one batch to the next; there is as much of it as there are batches under way.
#[derive(Clone)]
pub struct Uploader(Arc<Shared>);

struct Shared {
    device: CudaDevice,
    stream: Arc<CudaStream>,
    idle: Mutex<Vec<Room>>,
}

/// Memory of both sides, as large as the largest batch so far.
struct Room {
    pinned: PinnedHostSlice<f32>,
    staged: CudaSlice<f32>,
}

/// Numbers on their way to a GPU.
pub struct Upload {
    shared: Arc<Shared>,
    room: Room,
    shape: Shape,
}

fn failed<T>(what: &str, found: std::result::Result<T, DriverError>) -> Result<T> {
    match found {
        Ok(value) => Ok(value),
        Err(error) => bail!("bringing a batch to the GPU, {what}: {error}"),
    }
}

impl Uploader {
    /// For one GPU; none for another device.
    ///
    /// # Errors
    /// When the driver refuses a stream.
    pub fn new(device: &Device) -> Result<Option<Self>> {
        let Device::Cuda(device) = device else { return Ok(None) };
        let stream = failed("a stream", device.cuda_stream().context().new_stream())?;
        let shared = Shared { device: device.clone(), stream, idle: Mutex::default() };
        Ok(Some(Self(Arc::new(shared))))
    }

    /// Begins to bring numbers of a shape to the GPU.
    ///
    /// # Errors
    /// When there are more or fewer of them, or there is no memory for them.
    pub fn begin(&self, numbers: &[f32], shape: impl Into<Shape>) -> Result<Upload> {
        let shape = shape.into();
        if shape.elem_count() != numbers.len() || numbers.is_empty() {
            bail!("{} numbers for a batch of shape {shape:?}", numbers.len());
        }
        let shared = self.0.clone();
        let idle = shared.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut room = match idle.filter(|room| room.pinned.len() >= numbers.len()) {
            Some(room) => room,
            None => shared.room(numbers.len())?,
        };
        let pinned = failed("pinned memory", room.pinned.as_mut_slice())?;
        pinned[..numbers.len()].copy_from_slice(numbers);
        // It waits for the copy out of this room that was begun last, on the GPU.
        let copied = shared.stream.memcpy_htod(&room.pinned, &mut room.staged);
        failed("the copy", copied)?;
        Ok(Upload { shared, room, shape })
    }
}

impl Shared {
    fn room(&self, count: usize) -> Result<Room> {
        // SAFETY: pinned memory is written before the copy reads it but for what is beyond a smaller batch: whatever that
        // is, it is f32s, and nobody reads the copy of it. The GPU's is written by that copy.
        let (pinned, staged) =
            unsafe { (self.stream.context().alloc_pinned(count), self.stream.alloc(count)) };
        Ok(Room { pinned: failed("pinned memory", pinned)?, staged: failed("memory", staged)? })
    }
}

impl Upload {
    /// The tensor, to be used by what the device's stream gets from now on.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub fn tensor(self) -> Result<Tensor> {
        let Self { shared, room, shape } = self;
        let count = shape.elem_count();
        // SAFETY: the copy below writes all of it.
        let mut own = unsafe { shared.device.alloc::<f32>(count)? };
        shared.device.memcpy_dtod(&room.staged.slice(..count), &mut own)?;
        shared.idle.lock().unwrap_or_else(PoisonError::into_inner).push(room);
        let storage = CudaStorage::wrap_cuda_slice(own, shared.device.clone());
        Ok(Tensor::from_storage(Storage::Cuda(storage), shape, BackpropOp::none(), false))
    }
}
