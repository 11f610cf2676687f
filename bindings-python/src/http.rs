//! The AWS wire: a request that an AWS SDK made, answered in this process.

use std::time::Duration;

use outcrop::governance::Caller;
use outcrop::{Error, Result};
use outcrop_protocol::{Body, ChunkReader, HttpRequest, HttpResponse, handle};
use pyo3::exceptions::PyTimeoutError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::error::raise;
use crate::future::{Object, run_here};
use crate::process::PerProcess;

/// Names and values of headers.
pub type Headers = Vec<(String, String)>;

/// A body that is made as it is read. Dropping or closing it stops the engine within one step.
#[pyclass(frozen)]
pub struct Chunks(PerProcess<ChunkReader>);

#[pymethods]
impl Chunks {
    /// The next bytes, or None after the last. A `TimeoutError` where none come for `seconds`.
    #[pyo3(signature = (seconds, awaitable))]
    fn next(&self, py: Python<'_>, seconds: Option<f64>, awaitable: bool) -> PyResult<Object> {
        let next = self.0.handle(py)?.next();
        let next = within(py, seconds, next)?;
        run_here(py, awaitable, next, |py, chunk| match in_time(chunk)? {
            Some(chunk) => Ok(PyBytes::new(py, &chunk).into_any().unbind()),
            None => Ok(py.None()),
        })
    }

    /// Stops the work behind the body; whoever waits for a chunk is given its end.
    fn close(&self, py: Python<'_>) {
        if let Ok(reader) = self.0.get() {
            py.detach(|| reader.close());
        }
    }
}

/// Answers `request` of the owner of the home: `(status, headers, bytes or Chunks)`. A
/// `TimeoutError` where the response does not begin within `seconds`.
pub fn answer(
    py: Python<'_>,
    desk: outcrop::Session,
    request: HttpRequest,
    seconds: Option<f64>,
    awaitable: bool,
) -> PyResult<Object> {
    let mut caller = Caller::in_process();
    if let Some(agent) = request.header("user-agent") {
        caller.user_agent = agent.to_string();
    }
    let call = async move { handle(&desk, caller, request).await };
    let call = within(py, seconds, call)?;
    run_here(py, awaitable, call, |py, response| {
        let HttpResponse {
            status,
            headers,
            body,
        } = in_time(response)?;
        let body = match body {
            Body::Whole(bytes) => PyBytes::new(py, &bytes).into_any().unbind(),
            Body::Chunks(chunks) => {
                let reader = PerProcess::new(ChunkReader::new(chunks));
                Py::new(py, Chunks(reader))?.into_any()
            }
        };
        Ok((status, headers, body)
            .into_pyobject(py)?
            .into_any()
            .unbind())
    })
}

/// `work`, given up after `seconds`: `None` then.
fn within<T>(
    py: Python<'_>,
    seconds: Option<f64>,
    work: impl Future<Output = T> + Send + 'static,
) -> PyResult<impl Future<Output = Result<Option<T>>> + Send + 'static> {
    let limit = seconds.map(Duration::try_from_secs_f64).transpose();
    let limit = limit.map_err(|error| raise(py, Error::validation(format!("seconds: {error}"))))?;
    Ok(async move {
        match limit {
            Some(limit) => Ok(tokio::time::timeout(limit, work).await.ok()),
            None => Ok(Some(work.await)),
        }
    })
}

fn in_time<T>(outcome: Option<T>) -> PyResult<T> {
    outcome.ok_or_else(|| PyTimeoutError::new_err("nothing came within the time that was given"))
}
