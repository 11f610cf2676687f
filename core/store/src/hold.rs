//! Holds: what is one process's own for as long as it lives.

use std::time::Duration;

use crate::error::{Result, StoreError};
use crate::home::Home;
use crate::lock::{FileLock, RECORD_TIMEOUT};

/// A name that is held against every other holder, in this process and in others, until it is
/// dropped or its process ends.
#[derive(Debug)]
pub struct Hold {
    _lock: FileLock,
}

impl Home {
    /// Waits for the hold of `name`: up to 10 s.
    ///
    /// # Errors
    /// `Locked` where another has it for all that time, `Invalid` for the name, `Io`.
    pub fn hold(&self, name: &str) -> Result<Hold> {
        self.take_hold(name, RECORD_TIMEOUT)
    }

    /// The hold of `name`, or none where another has it.
    ///
    /// # Errors
    /// `Invalid` for the name, `Io`.
    pub fn try_hold(&self, name: &str) -> Result<Option<Hold>> {
        match self.take_hold(name, Duration::ZERO) {
            Ok(hold) => Ok(Some(hold)),
            Err(StoreError::Locked { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn take_hold(&self, name: &str, timeout: Duration) -> Result<Hold> {
        let lock = self.lock(&format!("hold.{name}"), name, timeout)?;
        Ok(Hold { _lock: lock })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_name_has_one_holder_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::open(folder.path()).unwrap();
        let held = home.hold("job a").unwrap();
        assert!(home.try_hold("job a").unwrap().is_none());
        assert!(home.try_hold("job b").unwrap().is_some());
        drop(held);
        assert!(home.try_hold("job a").unwrap().is_some());
    }
}
