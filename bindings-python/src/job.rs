//! Work that is long enough to show how far it is: a sync, a download.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use outcrop::{Meter, Result};
use pyo3::prelude::*;

use crate::error::{detached, raise};
use crate::future::{Object, Running};
use crate::process::PerProcess;

type Value = Box<dyn FnOnce(Python<'_>) -> PyResult<Object> + Send>;

/// Work under way. Dropping the object stops it.
#[pyclass(frozen)]
pub struct Job {
    running: PerProcess<Mutex<Running<Value>>>,
    meter: Meter,
}

impl Job {
    /// Starts `future`, which tells `meter` how far it is; `convert` makes the result of its value.
    pub fn start<T: Send + 'static>(
        py: Python<'_>,
        meter: Meter,
        future: impl Future<Output = Result<T>> + Send + 'static,
        convert: impl FnOnce(Python<'_>, T) -> PyResult<Object> + Send + 'static,
    ) -> PyResult<Self> {
        let running = Running::start(async move {
            let value = future.await?;
            let result: Value = Box::new(move |py| convert(py, value));
            Ok(result)
        })
        .map_err(|error| raise(py, error))?;
        Ok(Self {
            running: PerProcess::new(Mutex::new(running)),
            meter,
        })
    }
}

#[pymethods]
impl Job {
    /// The result as a tuple of one, where it is there within `seconds`, else None.
    fn wait(&self, py: Python<'_>, seconds: f64) -> PyResult<Option<(Object,)>> {
        let limit = Duration::try_from_secs_f64(seconds).unwrap_or_default();
        let outcome = detached(py, || {
            let running = self.running.get()?.lock();
            let running = running.unwrap_or_else(PoisonError::into_inner);
            running.wait(limit).transpose()
        })?;
        outcome.map(|value| Ok((value(py)?,))).transpose()
    }

    /// The latest progress as JSON, or None where nothing was told yet.
    fn progress(&self) -> Option<String> {
        self.meter.latest()
    }

    /// Stops the work; what it committed stays.
    fn cancel(&self) {
        if let Ok(running) = self.running.get() {
            let running = running.lock();
            running.unwrap_or_else(PoisonError::into_inner).abort();
        }
    }
}
