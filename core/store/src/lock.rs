//! Locks between the writers of a home, in one process or in several.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::error::{Result, StoreError};

/// How long a writer of a small file waits for the one before it.
pub(crate) const RECORD_TIMEOUT: Duration = Duration::from_secs(10);

/// An exclusive advisory lock on a file, held until it is dropped or its process ends.
#[derive(Debug)]
pub(crate) struct FileLock {
    file: File,
}

impl FileLock {
    /// Waits up to `timeout` for the lock on `path`, which is created and never deleted.
    pub(crate) fn acquire(path: &Path, resource: &str, timeout: Duration) -> Result<Self> {
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)
            .map_err(StoreError::io("open", path))?;
        let start = Instant::now();
        let mut pause = Duration::from_millis(1);
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self { file }),
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => return Err(StoreError::io("lock", path)(error)),
            }
            let waited = start.elapsed();
            if waited >= timeout {
                return Err(StoreError::Locked {
                    resource: resource.to_owned(),
                    file: path.to_path_buf(),
                    waited,
                });
            }
            thread::sleep(pause.min(timeout - waited));
            pause = (pause * 2).min(Duration::from_millis(50));
        }
    }
}

impl Drop for FileLock {
    fn drop(&mut self) {
        // Explicit, because a forked child may still hold a copy of the descriptor.
        let _ = self.file.unlock();
    }
}
