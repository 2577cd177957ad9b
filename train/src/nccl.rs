//! Ranks whose tensors lie on NVIDIA GPUs, summed there by NCCL.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use candle_core::cuda_backend::cudarc::driver::{CudaEvent, CudaStream, DevicePtrMut, DriverError};
use candle_core::cuda_backend::cudarc::nccl::result::{self, NcclError};
use candle_core::cuda_backend::cudarc::nccl::sys;
use candle_core::{CpuStorage, CudaStorage, Device, InplaceOp1, Layout, Tensor, Var, bail};

use crate::collective::check_f32;
use crate::{Collective, Error, Pending, Result};

/// Looks at an event without a pause, before it begins to sleep between them.
const EAGER_LOOKS: usize = 100;

/// The pause between looks: short against the time of a bucket's sum.
const PAUSE: Duration = Duration::from_micros(50);

/// Ranks with a GPU each: tensors on it are summed and broadcast where they lie, over NVLink or the network.
///
/// Everything else (numbers, bytes, tensors in memory) goes through the collective that it was made of, which must have
/// the same ranks; by it they get NCCL's id. Sums run on a stream of their own, beside the model's kernels.
/// A sum of the same ranks on the same machines has the same bits in every run, as far as NCCL takes the same way.
pub struct Nccl {
    inner: Arc<dyn Collective>,
    device: Device,
    ring: Arc<Ring>,
    limit: Duration,
}

/// NCCL's communicator, and the streams it works between.
struct Ring {
    communicator: Mutex<Communicator>,
    /// NCCL's own.
    stream: Arc<CudaStream>,
    /// The device's, on which the model computes.
    model: Arc<CudaStream>,
    /// Something went wrong: others may not answer any more.
    broken: AtomicBool,
}

struct Communicator(sys::ncclComm_t);

// SAFETY: a communicator may be used by any thread that has its device's context, by one at a time: it lies in a `Mutex`,
// and `Ring::lock` sets the context.
unsafe impl Send for Communicator {}

impl Nccl {
    /// Joins the ranks of `inner`, each with a GPU of its own; `limit` is how long a rank waits for a sum before it takes
    /// the others as lost. All ranks call it at once.
    ///
    /// # Errors
    /// When the device is no GPU, NCCL refuses (two ranks on one GPU, say), or `inner` fails.
    pub fn connect(inner: Arc<dyn Collective>, device: &Device, limit: Duration) -> Result<Self> {
        let Device::Cuda(cuda) = device else {
            return Err(Error::Nccl {
                action: "joining".to_owned(),
                problem: format!("the device is {:?}, expected an NVIDIA GPU", device.location()),
            });
        };
        let id = shared_id(inner.as_ref())?;
        let model = cuda.cuda_stream();
        let driver = |error: DriverError| failed("making a stream", &error);
        let stream = model.context().new_stream().map_err(driver)?;
        model.context().bind_to_thread().map_err(driver)?;
        let (rank, world) = (inner.rank(), inner.world());
        let (Ok(number), Ok(count)) = (c_int::try_from(rank), c_int::try_from(world)) else {
            return Err(Error::Launch(format!("{world} ranks are too many for NCCL")));
        };
        let mut communicator = ptr::null_mut();
        // SAFETY: the pointer is written before it returns, the context is this thread's, and the id is of these ranks.
        let made = unsafe { result::comm_init_rank(&mut communicator, count, id, number) };
        made.map_err(|error| refused(format!("joining as rank {rank} of {world}"), &error))?;
        let communicator = Mutex::new(Communicator(communicator));
        let ring = Ring { communicator, stream, model, broken: AtomicBool::new(false) };
        Ok(Self { inner, device: device.clone(), ring: Arc::new(ring), limit })
    }

    /// Has NCCL do something with a tensor's numbers in place, after what the model does with them; the event comes after
    /// it.
    fn start(&self, tensor: &Tensor, what: What) -> Result<CudaEvent> {
        if !tensor.device().same_device(&self.device) {
            return Err(Error::Nccl {
                action: what.verb().to_owned(),
                problem: format!(
                    "a tensor on {:?}, expected on {:?}",
                    tensor.device().location(),
                    self.device.location()
                ),
            });
        }
        let begun = tensor.inplace_op1(&InPlace { ring: &self.ring, what });
        let event = begun.and_then(|()| {
            let event = self.ring.stream.record_event(None);
            event.map_err(|error| candle_core::Error::Msg(format!("recording an event: {error:?}")))
        });
        event.map_err(|error| Error::Nccl {
            action: format!("{} {} numbers", what.verb(), tensor.elem_count()),
            problem: error.to_string(),
        })
    }

    fn under_way(&self, event: CudaEvent, numbers: Tensor) -> UnderWay {
        let (rank, world, limit) = (self.rank(), self.world(), self.limit);
        UnderWay { event, numbers, ring: self.ring.clone(), rank, world, limit }
    }
}

/// NCCL's id of these ranks, made by rank 0.
fn shared_id(inner: &dyn Collective) -> Result<sys::ncclUniqueId> {
    let own = match inner.rank() {
        0 => Some(result::get_uniqueid()),
        _ => None,
    };
    // Without an id there are no bytes, so that nobody waits.
    let bytes = match &own {
        Some(Ok(id)) => id.internal.iter().map(|x| x.to_ne_bytes()[0]).collect(),
        _ => Vec::new(),
    };
    let bytes = inner.broadcast_bytes(bytes)?;
    if let Some(Err(error)) = own {
        return Err(refused("making an id for the ranks".to_owned(), &error));
    }
    let letters: Vec<c_char> = bytes.iter().map(|x| c_char::from_ne_bytes([*x])).collect();
    match letters.try_into() {
        Ok(internal) => Ok(sys::ncclUniqueId { internal }),
        Err(_) => Err(Error::Nccl {
            action: "joining".to_owned(),
            problem: format!("rank 0 gave an id of {} bytes, expected 128", bytes.len()),
        }),
    }
}

#[derive(Debug, Clone, Copy)]
enum What {
    Sum,
    Broadcast,
}

impl What {
    fn verb(self) -> &'static str {
        match self {
            Self::Sum => "summing",
            Self::Broadcast => "broadcasting",
        }
    }
}

struct InPlace<'a> {
    ring: &'a Ring,
    what: What,
}

impl InplaceOp1 for InPlace<'_> {
    fn name(&self) -> &'static str {
        "nccl-in-place"
    }

    fn cpu_fwd(&self, _storage: &mut CpuStorage, _layout: &Layout) -> candle_core::Result<()> {
        bail!("NCCL was given a tensor in memory")
    }

    fn cuda_fwd(&self, storage: &mut CudaStorage, layout: &Layout) -> candle_core::Result<()> {
        let Some((start, end)) = layout.contiguous_offsets() else {
            bail!("expected a contiguous tensor, found strides {:?}", layout.stride())
        };
        let ring = self.ring;
        // Also where candle does not track which stream uses what.
        let joined = ring.stream.join(&ring.model);
        joined.map_err(|error| driver_failed("waiting for the model's stream", &error))?;
        let mut numbers = storage.as_cuda_slice_mut::<f32>()?.slice_mut(start..end);
        let (place, _until_dropped) = numbers.device_ptr_mut(&ring.stream);
        let done = ring.run(self.what, place as *mut c_void, end - start);
        done.map_err(candle_core::Error::Msg)
    }
}

fn driver_failed(action: &str, error: &DriverError) -> candle_core::Error {
    candle_core::Error::Msg(format!("{action}: {error:?}"))
}

impl Ring {
    /// Puts an operation on NCCL's stream, on f32 numbers where they lie.
    fn run(
        &self,
        what: What,
        numbers: *mut c_void,
        count: usize,
    ) -> std::result::Result<(), String> {
        let communicator = self.lock()?;
        let stream = self.stream.cu_stream().cast();
        let f32 = sys::ncclDataType_t::ncclFloat32;
        // SAFETY: `numbers` are `count` f32 on the communicator's device, which outlive the operation (`UnderWay` keeps
        // their tensor, `broadcast` waits), and nobody else uses them meanwhile: the stream waited for the model's.
        let begun = unsafe {
            match what {
                What::Sum => {
                    let sum = sys::ncclRedOp_t::ncclSum;
                    result::all_reduce(numbers, numbers, count, f32, sum, communicator.0, stream)
                }
                What::Broadcast => {
                    result::broadcast(numbers, numbers, count, f32, 0, communicator.0, stream)
                }
            }
        };
        begun.map(drop).map_err(|error| {
            self.broken.store(true, Ordering::SeqCst);
            words(&error)
        })
    }

    /// The communicator, with its device's context on this thread.
    fn lock(&self) -> std::result::Result<MutexGuard<'_, Communicator>, String> {
        let bound = self.stream.context().bind_to_thread();
        bound.map_err(|error| format!("setting the device's context: {error:?}"))?;
        Ok(self.communicator.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What went wrong since, if something did.
    fn trouble(&self) -> Option<String> {
        let communicator = match self.lock() {
            Ok(communicator) => communicator,
            Err(problem) => return Some(problem),
        };
        let mut found = sys::ncclResult_t::ncclSuccess;
        // SAFETY: the communicator lives as long as this.
        let asked = unsafe { sys::ncclCommGetAsyncError(communicator.0, &mut found) };
        let asked = asked.result().and_then(|_| found.result());
        asked.err().map(|error| words(&error))
    }

    /// Waits until the event has come.
    fn wait(&self, event: &CudaEvent, limit: Duration) -> std::result::Result<(), String> {
        let bound = self.stream.context().bind_to_thread();
        bound.map_err(|error| format!("setting the device's context: {error:?}"))?;
        let began = Instant::now();
        for look in 0_usize.. {
            match event.try_is_complete() {
                Ok(true) => return Ok(()),
                Ok(false) if look < EAGER_LOOKS => thread::yield_now(),
                Ok(false) if began.elapsed() > limit => {
                    let limit = limit.as_secs_f64();
                    return Err(format!("no answer in {limit} s; one of them hangs or has ended"));
                }
                Ok(false) => match self.trouble() {
                    Some(problem) => return Err(problem),
                    None => thread::sleep(PAUSE),
                },
                Err(error) => return Err(format!("the GPU failed: {error:?}")),
            }
        }
        Ok(())
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        let broken = self.broken.load(Ordering::SeqCst) || thread::panicking();
        let Ok(communicator) = self.lock() else { return };
        // SAFETY: nobody has the communicator any more. What is under way keeps the ring, so that all is done, unless
        // something broke, which `abort` ends.
        let _ = unsafe {
            match broken {
                true => result::comm_abort(communicator.0),
                false => result::comm_destroy(communicator.0),
            }
        };
    }
}

/// A sum on NCCL's stream.
struct UnderWay {
    event: CudaEvent,
    numbers: Tensor,
    ring: Arc<Ring>,
    rank: usize,
    world: usize,
    limit: Duration,
}

impl UnderWay {
    fn wait(self) -> Result<Tensor> {
        match self.ring.wait(&self.event, self.limit) {
            Ok(()) => Ok(self.numbers.clone()),
            Err(problem) => {
                self.ring.broken.store(true, Ordering::SeqCst);
                Err(Error::Lost { rank: self.rank, world: self.world, problem })
            }
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        // The numbers' memory is given back in the model's stream: not before NCCL is done with it. Where the GPU failed
        // there is nothing to wait for.
        let _ = self.ring.model.wait(&self.event);
    }
}

impl Collective for Nccl {
    fn rank(&self) -> usize {
        self.inner.rank()
    }

    fn world(&self) -> usize {
        self.inner.world()
    }

    fn start_sum(&self, numbers: Tensor) -> Result<Pending> {
        if numbers.device().is_cpu() {
            return self.inner.start_sum(numbers);
        }
        check_f32(&numbers)?;
        let numbers = numbers.contiguous()?;
        let event = self.start(&numbers, What::Sum)?;
        let under_way = self.under_way(event, numbers);
        Ok(Pending::new(move || under_way.wait()))
    }

    fn sum(&self, numbers: &mut [f64]) -> Result<()> {
        self.inner.sum(numbers)
    }

    fn broadcast(&self, vars: &[Var]) -> Result<()> {
        vars.iter().try_for_each(|var| check_f32(var))?;
        for var in vars {
            if var.device().is_cpu() {
                self.inner.broadcast(std::slice::from_ref(var))?;
                continue;
            }
            let event = self.start(var, What::Broadcast)?;
            self.under_way(event, var.as_tensor().clone()).wait()?;
        }
        Ok(())
    }

    fn broadcast_bytes(&self, bytes: Vec<u8>) -> Result<Vec<u8>> {
        self.inner.broadcast_bytes(bytes)
    }

    fn gather_bytes(&self, bytes: Vec<u8>) -> Result<Vec<Vec<u8>>> {
        self.inner.gather_bytes(bytes)
    }

    fn abort(&self) -> ! {
        self.inner.abort()
    }
}

fn failed(action: &str, error: &DriverError) -> Error {
    Error::Nccl { action: action.to_owned(), problem: format!("{error:?}") }
}

fn refused(action: String, error: &NcclError) -> Error {
    Error::Nccl { action, problem: words(error) }
}

/// What NCCL says of an error, and of its cause.
fn words(error: &NcclError) -> String {
    // SAFETY: both are strings that NCCL keeps, and the last error needs no communicator.
    let texts =
        unsafe { [sys::ncclGetErrorString(error.0), sys::ncclGetLastError(ptr::null_mut())] };
    let texts = texts.into_iter().filter(|text| !text.is_null());
    // SAFETY: not null, and ended by a zero.
    let texts = texts.map(|text| unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned());
    let texts: Vec<String> = texts.filter(|text| !text.trim().is_empty()).collect();
    match texts.is_empty() {
        true => format!("error {:?}", error.0),
        false => texts.join("; "),
    }
}
