use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::cuda_backend::cudarc::driver::CudaContext;
use candle_core::cuda_backend::{CudaDevice, DeviceId};
use candle_core::{Device, Result, bail};

use super::lt::Lt;

/// The GPU of a number, with one stream for everything.
///
/// candle's own `Device::new_cuda` has a stream for each thread, among which nothing is in order: a checkpoint that another
/// thread writes could read weights in the middle of an update.
///
/// # Errors
/// When there is no such GPU, or no driver.
pub fn device(number: usize) -> Result<Device> {
    let count = device_count()?;
    if number >= count {
        bail!("GPU {number}: there are {count}, counted from 0");
    }
    Device::new_cuda_with_stream(number)
}

/// How many GPUs there are.
///
/// # Errors
/// When there is no driver.
pub fn device_count() -> Result<usize> {
    let count = CudaContext::device_count()
        .map_err(|error| candle_core::Error::Msg(format!("looking for GPUs: {error}")))?;
    Ok(count.max(0) as usize)
}

/// The products' library, once for each device.
pub(super) fn lt(device: &CudaDevice) -> Result<Arc<Lt>> {
    static ALL: Mutex<Option<HashMap<DeviceId, Arc<Lt>>>> = Mutex::new(None);
    let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
    let all = all.get_or_insert_with(HashMap::new);
    if let Some(known) = all.get(&device.id()) {
        return Ok(known.clone());
    }
    let new = Arc::new(Lt::new(device)?);
    all.insert(device.id(), new.clone());
    Ok(new)
}
