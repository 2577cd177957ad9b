//! One process at a time downloads a file; `huggingface_hub` takes the same lock (`flock`) on the same file.

use std::fs::{File, TryLockError};
use std::path::Path;

use crate::{Error, Result, cache};

/// A lock that ends when it is dropped, or with its process. The file stays.
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// Waits for the lock.
    pub(crate) fn take(path: &Path) -> Result<Self> {
        cache::make_parent(path)?;
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)
            .map_err(Error::io("open the lock", path))?;
        match file.try_lock() {
            Ok(()) => return Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => {
                tracing::info!(lock = %path.display(), "waiting for another download");
            }
            Err(TryLockError::Error(error)) => return Err(Error::io("lock", path)(error)),
        }
        file.lock().map_err(Error::io("lock", path))?;
        Ok(Self { _file: file })
    }
}
