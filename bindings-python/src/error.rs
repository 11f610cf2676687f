//! The desk's errors as Python exceptions.

use outcrop::{Error, ErrorKind, Result, caught_call};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

/// Every kind of error: its name, its HTTP status, and whether a retry may succeed.
#[pyfunction]
pub fn error_kinds() -> Vec<(&'static str, u16, bool)> {
    ErrorKind::ALL
        .iter()
        .map(|kind| (kind.name(), kind.http_status(), kind.is_retryable()))
        .collect()
}

/// `error` as the class of its name in `outcrop.errors`.
pub fn raise(py: Python<'_>, error: Error) -> PyErr {
    let exception = py
        .import("outcrop.errors")
        .and_then(|module| module.getattr(error.kind().name()))
        .and_then(|class| class.call1((error.message(), error.resource())));
    let raised = match exception {
        Ok(value) => PyErr::from_value(value),
        Err(missing) => return missing,
    };
    let cause = std::error::Error::source(&error).map(ToString::to_string);
    if let Some(cause) = cause.filter(|text| !error.message().contains(text)) {
        raised.set_cause(py, Some(PyRuntimeError::new_err(cause)));
    }
    raised
}

/// Runs short work with the GIL released; a panic in it is an error.
pub fn detached<T: Send>(py: Python<'_>, work: impl FnOnce() -> Result<T> + Send) -> PyResult<T> {
    py.detach(|| caught_call(work))
        .map_err(|error| raise(py, error))
}
