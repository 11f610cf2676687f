//! A knowledge base's handle.

use std::path::PathBuf;

use outcrop::{AskOptions, Document, Meter, RetrieveOptions};
use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::convert;
use crate::error::raise;
use crate::future::{Object, run_json};
use crate::job::Job;
use crate::process::PerProcess;

/// A knowledge base. Where `awaitable`, a method gives an asyncio future.
#[pyclass(frozen)]
pub struct KnowledgeBase(pub PerProcess<outcrop::KnowledgeBase>);

#[pymethods]
impl KnowledgeBase {
    /// Its name, model, chunking and counts, as JSON.
    fn info(&self, py: Python<'_>, awaitable: bool) -> PyResult<Object> {
        let desk = self.0.handle(py)?;
        run_json(py, awaitable, async move { desk.info().await })
    }

    /// Its sources, as a JSON list.
    fn sources(&self, py: Python<'_>, awaitable: bool) -> PyResult<Object> {
        let desk = self.0.handle(py)?;
        run_json(py, awaitable, async move { desk.sources().await })
    }

    /// Its documents, as a JSON list.
    fn documents(&self, py: Python<'_>, awaitable: bool) -> PyResult<Object> {
        let desk = self.0.handle(py)?;
        run_json(py, awaitable, async move { desk.documents().await })
    }

    /// Adds a folder or a file as a source; the source as JSON.
    fn add_source(&self, py: Python<'_>, path: PathBuf, awaitable: bool) -> PyResult<Object> {
        let desk = self.0.handle(py)?;
        run_json(py, awaitable, async move { desk.add_source(path).await })
    }

    /// Removes a source by its id or path; the source as JSON.
    fn remove_source(&self, py: Python<'_>, source: String, awaitable: bool) -> PyResult<Object> {
        let desk = self.0.handle(py)?;
        run_json(
            py,
            awaitable,
            async move { desk.remove_source(source).await },
        )
    }

    /// Starts a sync; its report as JSON.
    fn sync(&self, py: Python<'_>) -> PyResult<Job> {
        let (desk, meter) = (self.0.handle(py)?, Meter::default());
        let told = meter.clone();
        let call = async move { desk.sync(move |now| told.tell(&now)).await };
        Job::start(py, meter, call, |py, report| {
            convert::json_string(py, &report)
        })
    }

    /// Adds documents given as a JSON list, with the caller's vectors beside them.
    fn add(
        &self,
        py: Python<'_>,
        documents: &str,
        embeddings: &Bound<'_, PyList>,
        awaitable: bool,
    ) -> PyResult<Object> {
        let mut documents: Vec<Document> =
            outcrop::from_json("documents", documents).map_err(|error| raise(py, error))?;
        for (document, vector) in documents.iter_mut().zip(convert::vectors(embeddings)?) {
            document.embedding = vector;
        }
        let desk = self.0.handle(py)?;
        run_json(py, awaitable, async move { desk.add(documents).await })
    }

    /// Deletes documents by id; how many there were.
    fn delete(&self, py: Python<'_>, ids: Vec<String>, awaitable: bool) -> PyResult<Object> {
        let desk = self.0.handle(py)?;
        run_json(py, awaitable, async move { desk.delete(ids).await })
    }

    /// The nearest passages, as a JSON list. `options` is JSON.
    fn retrieve(
        &self,
        py: Python<'_>,
        query: String,
        options: &str,
        awaitable: bool,
    ) -> PyResult<Object> {
        let options = RetrieveOptions::from_json(options).map_err(|error| raise(py, error))?;
        let desk = self.0.handle(py)?;
        run_json(
            py,
            awaitable,
            async move { desk.retrieve(query, options).await },
        )
    }

    /// An answer from the documents, as JSON. `options` is JSON.
    fn ask(
        &self,
        py: Python<'_>,
        question: String,
        options: &str,
        awaitable: bool,
    ) -> PyResult<Object> {
        let options = AskOptions::from_json(options).map_err(|error| raise(py, error))?;
        let desk = self.0.handle(py)?;
        run_json(
            py,
            awaitable,
            async move { desk.ask(question, options).await },
        )
    }
}
