//! An agent's handle, and the turns that are being driven.

use std::sync::Arc;

use outcrop::agent_turn::{Outcome, TraceEvent, tree};
use outcrop::{InvokeRequest, ResumeRequest, Run};
use pyo3::prelude::*;

use crate::error::{detached, raise};
use crate::future::{Object, run, run_here, run_json};
use crate::process::PerProcess;

/// An agent. Where `awaitable`, a method gives an asyncio future.
#[pyclass(frozen)]
pub struct Agent(pub PerProcess<outcrop::Agent>);

#[pymethods]
impl Agent {
    /// What is known of it, as JSON.
    fn info(&self, py: Python<'_>, awaitable: bool) -> PyResult<Object> {
        let desk = self.0.handle(py)?;
        run_json(py, awaitable, async move { desk.info().await })
    }

    /// Begins a turn by an `InvokeRequest` given as JSON.
    fn invoke(&self, py: Python<'_>, request: &str, awaitable: bool) -> PyResult<Object> {
        let request: InvokeRequest =
            outcrop::from_json("request", request).map_err(|error| raise(py, error))?;
        let desk = self.0.handle(py)?;
        run(
            py,
            awaitable,
            async move { desk.invoke(request).await },
            driven,
        )
    }

    /// Goes on with a turn by a `ResumeRequest` given as JSON.
    fn resume(&self, py: Python<'_>, request: &str, awaitable: bool) -> PyResult<Object> {
        let request: ResumeRequest =
            outcrop::from_json("request", request).map_err(|error| raise(py, error))?;
        let desk = self.0.handle(py)?;
        run(
            py,
            awaitable,
            async move { desk.resume(request).await },
            driven,
        )
    }

    /// Ends a turn that is paused.
    fn stop(
        &self,
        py: Python<'_>,
        session_id: String,
        reason: String,
        awaitable: bool,
    ) -> PyResult<Object> {
        let desk = self.0.handle(py)?;
        let call = async move { desk.stop(session_id, reason).await };
        run(py, awaitable, call, driven)
    }

    /// What a session told up to a step, as JSON.
    fn replay(
        &self,
        py: Python<'_>,
        session_id: String,
        to_step: Option<usize>,
        awaitable: bool,
    ) -> PyResult<Object> {
        let desk = self.0.handle(py)?;
        run_json(py, awaitable, async move {
            desk.replay(&session_id, to_step).await
        })
    }

    /// What is kept of the sessions of a memory, as JSON.
    fn memory(&self, py: Python<'_>, memory_id: String, awaitable: bool) -> PyResult<Object> {
        let desk = self.0.handle(py)?;
        run_json(py, awaitable, async move { desk.memory(&memory_id).await })
    }

    /// Forgets what is kept of a session, of a memory, or of all.
    fn delete_memory(
        &self,
        py: Python<'_>,
        memory_id: Option<String>,
        session_id: Option<String>,
        awaitable: bool,
    ) -> PyResult<Object> {
        let desk = self.0.handle(py)?;
        run_json(py, awaitable, async move {
            desk.delete_memory(memory_id, session_id).await
        })
    }

    /// Another session with the same beginning, changed by an `Edit` given as JSON; where it
    /// stands, as JSON.
    fn fork(
        &self,
        py: Python<'_>,
        origin: (String, Option<usize>),
        edit: Option<&str>,
        new_session_id: Option<String>,
        awaitable: bool,
    ) -> PyResult<Object> {
        let edit = edit.map(|edit| outcrop::from_json("edit", edit));
        let edit = edit.transpose().map_err(|error| raise(py, error))?;
        let desk = self.0.handle(py)?;
        run_json(py, awaitable, async move {
            desk.fork(&origin.0, origin.1, edit, new_session_id).await
        })
    }
}

/// The events of a trace, a JSON list, as a tree: lines for a terminal, or HTML for a notebook.
#[pyfunction]
pub fn trace_tree(py: Python<'_>, events: &str, html: bool) -> PyResult<String> {
    let events: Vec<TraceEvent> =
        outcrop::from_json("trace", events).map_err(|error| raise(py, error))?;
    Ok(match html {
        true => tree::html(&events),
        false => tree::text(&events),
    })
}

fn driven(py: Python<'_>, run: Run) -> PyResult<Object> {
    let run = AgentRun(PerProcess::new(Arc::new(run)));
    Ok(Py::new(py, run)?.into_any())
}

/// A turn that is being driven. Dropping or closing it stops the work.
#[pyclass(frozen)]
pub struct AgentRun(PerProcess<Arc<Run>>);

#[pymethods]
impl AgentRun {
    /// The next events as a JSON list, or None after the last.
    fn next(&self, py: Python<'_>, awaitable: bool) -> PyResult<Object> {
        let batch = self.0.handle(py)?.next();
        run_here(py, awaitable, batch, |py, batch| {
            Ok(batch.into_pyobject(py)?.into_any().unbind())
        })
    }

    /// Gives the result of a call, an `Outcome` as JSON; False where its time was over before.
    fn give(&self, py: Python<'_>, call: &str, outcome: &str) -> PyResult<bool> {
        let outcome: Outcome =
            outcrop::from_json("outcome", outcome).map_err(|error| raise(py, error))?;
        let run = self.0.handle(py)?;
        detached(py, || run.give(call, outcome))
    }

    /// Stops the work.
    fn close(&self) {
        if let Ok(run) = self.0.get() {
            run.cancel();
        }
    }
}
