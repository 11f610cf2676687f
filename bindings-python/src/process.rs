//! Values that belong to one process: after `fork` their threads are not in the child.

use outcrop::{Error, Result};
use pyo3::{PyResult, Python};

use crate::error::raise;

/// A value that is never torn down in another process than its own: its engines' threads do not
/// exist in a forked child, so that ending them there would wait for ever. The child leaves the
/// memory alone.
pub struct PerProcess<T> {
    pid: u32,
    value: Option<T>,
}

impl<T> PerProcess<T> {
    /// A value of this process.
    pub fn new(value: T) -> Self {
        Self {
            pid: std::process::id(),
            value: Some(value),
        }
    }

    /// The value, in the process that made it.
    ///
    /// # Errors
    /// `ValidationException` in a forked child.
    pub fn get(&self) -> Result<&T> {
        let (here, there) = (std::process::id(), self.pid);
        self.value.as_ref().filter(|_| here == there).ok_or_else(|| {
            Error::validation(format!(
                "it was made in process {there} and does not work in its forked child {here}: make \
                 it anew there"
            ))
        })
    }
}

impl<T: Clone> PerProcess<T> {
    /// A handle of the value, in the process that made it.
    pub fn handle(&self, py: Python<'_>) -> PyResult<T> {
        self.get().cloned().map_err(|error| raise(py, error))
    }
}

impl<T> Drop for PerProcess<T> {
    fn drop(&mut self) {
        if self.pid != std::process::id() {
            std::mem::forget(self.value.take());
        }
    }
}
