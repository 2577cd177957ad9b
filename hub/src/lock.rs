//! One process at a time downloads a file; `huggingface_hub` takes the same lock (`flock`) on the same file.

use std::fs::{File, TryLockError};
use std::io::ErrorKind;
use std::path::Path;

use crate::{Error, Result, cache};

/// What systems answer where the file system has no locks, as some network file systems: `ENOLCK`, `ENOTSUP` and
/// `EOPNOTSUPP`.
const NO_LOCKS: &[i32] = if cfg!(target_os = "linux") {
    &[37, 95]
} else if cfg!(target_vendor = "apple") {
    &[77, 45, 102]
} else {
    &[]
};

/// A lock that ends when it is dropped, or with its process. The file stays.
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// Waits for the lock. Where the file system has none, this goes on without it, with a warning in the log: a file that
    /// two processes write at once is found damaged by its hash.
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
            Err(TryLockError::Error(error)) => {
                without(error, path)?;
                return Ok(Self { _file: file });
            }
        }
        file.lock().or_else(|error| without(error, path))?;
        Ok(Self { _file: file })
    }
}

/// Goes on without the lock if there are no locks here.
fn without(error: std::io::Error, path: &Path) -> Result<()> {
    let none = error.kind() == ErrorKind::Unsupported
        || error.raw_os_error().is_some_and(|code| NO_LOCKS.contains(&code));
    if !none {
        return Err(Error::io("lock", path)(error));
    }
    tracing::warn!(%error, lock = %path.display(), "no locks here: going on without");
    Ok(())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_without_locks_is_used_without() {
        // ENOLCK, ENOSYS, ENOTSUP; EIO is an error.
        for (code, goes_on) in [(37, true), (38, true), (95, true), (5, false)] {
            let error = std::io::Error::from_raw_os_error(code);
            assert_eq!(without(error, Path::new("x.lock")).is_ok(), goes_on, "{code}");
        }
    }
}
