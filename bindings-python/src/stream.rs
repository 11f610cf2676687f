//! A running answer: events that Python takes in batches, as many as are ready.

use std::sync::Arc;

use outcrop::{Feed, Result};
use pyo3::prelude::*;

use crate::error::raise;
use crate::future::{Object, run_here};
use crate::process::PerProcess;

/// A running answer. Dropping or closing it stops the engine within one step.
#[pyclass(frozen)]
pub struct Stream(PerProcess<Arc<Feed>>);

impl Stream {
    /// The answer whose events `feed` brings.
    pub fn of(py: Python<'_>, feed: Result<Feed>) -> PyResult<Self> {
        let feed = feed.map_err(|error| raise(py, error))?;
        Ok(Self(PerProcess::new(Arc::new(feed))))
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
