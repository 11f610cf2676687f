//! A held prefix's handle.

use std::path::PathBuf;

use outcrop::api::Prompt;
use pyo3::prelude::*;

use crate::error::raise;
use crate::future::{Object, run};
use crate::model::parsed;
use crate::process::PerProcess;

/// The beginning of prompts that a model's cache holds. Where `awaitable`, a method gives an asyncio
/// future.
#[pyclass(frozen)]
pub struct Prefix(PerProcess<outcrop::Prefix>);

impl Prefix {
    /// Runs `call`, which makes a prefix.
    pub fn made_by(
        py: Python<'_>,
        awaitable: bool,
        call: impl Future<Output = outcrop::Result<outcrop::Prefix>> + Send + 'static,
    ) -> PyResult<Object> {
        run(py, awaitable, call, |py, prefix| {
            Ok(Py::new(py, Self(PerProcess::new(prefix)))?.into_any())
        })
    }
}

#[pymethods]
impl Prefix {
    /// Its token ids.
    fn ids(&self, py: Python<'_>) -> PyResult<Vec<u32>> {
        Ok(self.0.handle(py)?.ids().to_vec())
    }

    /// A prefix that goes on by a prompt, given as JSON.
    fn fork(&self, py: Python<'_>, more: &str, awaitable: bool) -> PyResult<Object> {
        let (prefix, more): (_, Prompt) = (self.0.handle(py)?, parsed(py, "more", more)?);
        Self::made_by(py, awaitable, async move { prefix.fork(more).await })
    }

    /// Writes it to a file.
    fn save(&self, py: Python<'_>, file: PathBuf, awaitable: bool) -> PyResult<Object> {
        let prefix = self.0.handle(py)?;
        let call = async move { prefix.save(file).await };
        run(py, awaitable, call, |py, ()| Ok(py.None()))
    }

    /// Gives its pages back.
    fn release(&self, py: Python<'_>) -> PyResult<()> {
        self.0
            .get()
            .map(outcrop::Prefix::release)
            .map_err(|error| raise(py, error))
    }
}
