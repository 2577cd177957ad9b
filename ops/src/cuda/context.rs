use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::Result;
use candle_core::cuda_backend::{CudaDevice, DeviceId};

use super::lt::Lt;

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
