//! A running answer: events that Python takes in batches, as many as are ready.

use outcrop::{Feed, Result};
use pyo3::prelude::*;

use crate::error::detached;
use crate::future::{Object, run_here};
use crate::process::PerProcess;

/// A running answer. Dropping or closing it stops the engine within one step.
#[pyclass(frozen)]
pub struct Stream(PerProcess<Feed>);

impl Stream {
    /// The answer whose events the feed that `start` makes brings.
    pub fn start(py: Python<'_>, start: impl FnOnce() -> Result<Feed> + Send) -> PyResult<Self> {
        Ok(Self(PerProcess::new(detached(py, start)?)))
    }
}

#[pymethods]
impl Stream {
    /// The next events as a JSON list, or None after the last.
    fn next(&self, py: Python<'_>, awaitable: bool) -> PyResult<Object> {
        let batch = self.0.handle(py)?.next();
        run_here(py, awaitable, batch, |py, batch| {
            Ok(batch.into_pyobject(py)?.into_any().unbind())
        })
    }

    /// Stops the answer.
    fn close(&self) {
        if let Ok(feed) = self.0.get() {
            feed.cancel();
        }
    }
}
