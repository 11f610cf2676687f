//! Rust futures as blocking calls that answer Ctrl-C, and as asyncio futures that obey cancellation.
//!
//! Either way the future runs on the desk's runtime, which a forked child has its own of, and is
//! dropped when its caller gives up: dropping is what stops the engine.

use std::future::Future;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use outcrop::{Error, Result, caught};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use serde::Serialize;
use tokio::task::AbortHandle;
use tokio::time::timeout;

use crate::convert::json_string;
use crate::error::raise;

/// How long a blocking call waits before it looks for signals: a quarter of what Ctrl-C may take.
const SLICE: Duration = Duration::from_millis(25);

/// Any Python object.
pub type Object = Py<PyAny>;

/// A future at work on the runtime. Dropping it stops the work.
pub struct Running<T> {
    outcome: Receiver<Result<T>>,
    task: AbortHandle,
}

impl<T: Send + 'static> Running<T> {
    /// Starts `future`.
    ///
    /// # Errors
    /// `InternalServerException` where the operating system gives no threads.
    pub fn start(future: impl Future<Output = Result<T>> + Send + 'static) -> Result<Self> {
        let (sender, outcome) = sync_channel(1);
        let task = outcrop::runtime()?.spawn(async move {
            let _ = sender.send(caught(Box::pin(future)).await.and_then(|outcome| outcome));
        });
        Ok(Self {
            outcome,
            task: task.abort_handle(),
        })
    }

    /// The outcome, where it is there within `limit`.
    pub fn wait(&self, limit: Duration) -> Option<Result<T>> {
        match self.outcome.recv_timeout(limit) {
            Ok(outcome) => Some(outcome),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => Some(Err(Error::cancelled())),
        }
    }

    /// Stops the work.
    pub fn abort(&self) {
        self.task.abort();
    }
}

impl<T> Drop for Running<T> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Runs `future` and gives what `convert` makes of its value: now, or, where `awaitable`, as an
/// asyncio future of the running loop.
pub fn run<T: Send + 'static>(
    py: Python<'_>,
    awaitable: bool,
    future: impl Future<Output = Result<T>> + Send + 'static,
    convert: impl FnOnce(Python<'_>, T) -> PyResult<Object> + Send + 'static,
) -> PyResult<Object> {
    if awaitable {
        return into_asyncio(py, future, convert);
    }
    let mut running = Running::start(future).map_err(|error| raise(py, error))?;
    loop {
        let (back, outcome) = py.detach(move || {
            let outcome = running.wait(SLICE);
            (running, outcome)
        });
        running = back;
        match outcome {
            Some(Ok(value)) => return convert(py, value),
            Some(Err(error)) => return Err(raise(py, error)),
            None => py.check_signals()?,
        }
    }
}

/// [`run`] whose blocking form polls `future` on the caller's own thread: nothing waits for another
/// thread to be scheduled. For futures that compute little between two waits, since signals are
/// looked for in the waits.
pub fn run_here<T: Send + 'static>(
    py: Python<'_>,
    awaitable: bool,
    future: impl Future<Output = Result<T>> + Send + 'static,
    convert: impl FnOnce(Python<'_>, T) -> PyResult<Object> + Send + 'static,
) -> PyResult<Object> {
    if awaitable {
        return into_asyncio(py, future, convert);
    }
    let runtime = outcrop::runtime().map_err(|error| raise(py, error))?;
    let mut future = Some(caught(Box::pin(future)));
    loop {
        let slice = || {
            let waiting = future.as_mut()?;
            let outcome = runtime.block_on(async { timeout(SLICE, waiting).await });
            outcome.ok()
        };
        match py.detach(slice) {
            Some(Ok(Ok(value))) => return convert(py, value),
            Some(Ok(Err(error)) | Err(error)) => return Err(raise(py, error)),
            None => {}
        }
        if let Err(interrupt) = py.check_signals() {
            // What it leaves behind may need the runtime.
            py.detach(|| {
                let _inside = runtime.enter();
                future = None;
            });
            return Err(interrupt);
        }
    }
}

/// [`run`] for a value that crosses as JSON text.
pub fn run_json<T: Serialize + Send + 'static>(
    py: Python<'_>,
    awaitable: bool,
    future: impl Future<Output = Result<T>> + Send + 'static,
) -> PyResult<Object> {
    run(py, awaitable, future, |py, value| json_string(py, &value))
}

fn into_asyncio<T: Send + 'static>(
    py: Python<'_>,
    future: impl Future<Output = Result<T>> + Send + 'static,
    convert: impl FnOnce(Python<'_>, T) -> PyResult<Object> + Send + 'static,
) -> PyResult<Object> {
    static RUNNING_LOOP: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let event_loop = RUNNING_LOOP
        .import(py, "asyncio", "get_running_loop")?
        .call0()?;
    let promise = event_loop.call_method0("create_future")?;
    let (event_loop, waiting) = (event_loop.unbind(), promise.clone().unbind());
    let runtime = outcrop::runtime().map_err(|error| raise(py, error))?;
    let task = runtime.spawn(async move {
        let outcome = caught(Box::pin(future)).await.and_then(|outcome| outcome);
        // While the interpreter ends there is nobody to tell, nor where the loop is closed.
        Python::try_attach(|py| {
            let outcome = outcome
                .map_err(|error| raise(py, error))
                .and_then(|value| convert(py, value));
            let settlement = Settlement {
                promise: waiting,
                succeeded: outcome.is_ok(),
                value: match outcome {
                    Ok(value) => value,
                    Err(error) => error.into_value(py).into_any(),
                },
            };
            let _ = event_loop.call_method1(py, "call_soon_threadsafe", (settlement,));
        });
    });
    promise.call_method1("add_done_callback", (Cancellation(task.abort_handle()),))?;
    Ok(promise.unbind())
}

/// Called on the event loop's thread: hands an asyncio future its outcome.
#[pyclass(frozen)]
struct Settlement {
    promise: Py<PyAny>,
    succeeded: bool,
    value: Py<PyAny>,
}

#[pymethods]
impl Settlement {
    fn __call__(&self, py: Python<'_>) -> PyResult<()> {
        if self.promise.call_method0(py, "done")?.is_truthy(py)? {
            return Ok(());
        }
        let method = if self.succeeded {
            "set_result"
        } else {
            "set_exception"
        };
        self.promise.call_method1(py, method, (&self.value,))?;
        Ok(())
    }
}

/// Called when an asyncio future is done: stops the work of one that was cancelled.
#[pyclass(frozen)]
struct Cancellation(AbortHandle);

#[pymethods]
impl Cancellation {
    fn __call__(&self, promise: &Bound<'_, PyAny>) -> PyResult<()> {
        if promise.call_method0("cancelled")?.is_truthy()? {
            self.0.abort();
        }
        Ok(())
    }
}
