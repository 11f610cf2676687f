//! A loaded model's handle.

use outcrop::api::{EmbedOptions, GenerateRequest};
use pyo3::prelude::*;

use crate::convert;
use crate::error::{detached, raise};
use crate::future::{Object, run, run_json};
use crate::process::PerProcess;
use crate::stream::Stream;

/// A loaded model. Where `awaitable`, a method gives an asyncio future.
#[pyclass(frozen)]
pub struct Model(pub PerProcess<outcrop::Model>);

#[pymethods]
impl Model {
    /// What is known of the model, as JSON.
    fn info(&self, py: Python<'_>) -> PyResult<Object> {
        convert::json_string(py, self.0.handle(py)?.info())
    }

    /// The reply to a `ConverseRequest`, both as JSON.
    fn converse(&self, py: Python<'_>, request: &str, awaitable: bool) -> PyResult<Object> {
        let request = convert::conversation(request).map_err(|error| raise(py, error))?;
        let model = self.0.handle(py)?;
        run_json(py, awaitable, async move { model.converse(request).await })
    }

    /// The events of the reply to a `ConverseRequest`.
    fn stream(&self, py: Python<'_>, request: &str) -> PyResult<Stream> {
        let request = convert::conversation(request).map_err(|error| raise(py, error))?;
        let model = self.0.handle(py)?;
        Stream::start(py, async move { model.stream(request).await })
    }

    /// The completion of a `GenerateRequest`, both as JSON.
    fn generate(&self, py: Python<'_>, request: &str, awaitable: bool) -> PyResult<Object> {
        let request: GenerateRequest =
            convert::parse("request", request).map_err(|error| raise(py, error))?;
        let model = self.0.handle(py)?;
        run_json(py, awaitable, async move { model.generate(request).await })
    }

    /// Vectors of texts, float32 `(texts, dimensions)`.
    fn embed(
        &self,
        py: Python<'_>,
        texts: Vec<String>,
        normalize: bool,
        truncate: bool,
        awaitable: bool,
    ) -> PyResult<Object> {
        let options = EmbedOptions {
            normalize,
            truncate,
            ..EmbedOptions::default()
        };
        let (model, rows) = (self.0.handle(py)?, texts.len());
        let call = async move { model.embed(texts, options).await };
        run(py, awaitable, call, move |py, vectors| {
            convert::matrix(py, vectors.values, rows, vectors.dimensions)
        })
    }

    /// Scores of texts for a query, float32 `(texts,)`.
    fn rerank(
        &self,
        py: Python<'_>,
        query: String,
        texts: Vec<String>,
        awaitable: bool,
    ) -> PyResult<Object> {
        let model = self.0.handle(py)?;
        let call = async move { model.rerank(query, texts).await };
        run(py, awaitable, call, convert::vector)
    }

    /// Logits after each id, float32 `(ids, vocabulary)`.
    fn logits(&self, py: Python<'_>, ids: Vec<u32>, awaitable: bool) -> PyResult<Object> {
        let (model, rows) = (self.0.handle(py)?, ids.len());
        let columns = model.info().vocabulary.unwrap_or(0);
        let call = async move { model.logits(ids).await };
        run(py, awaitable, call, move |py, logits| {
            convert::matrix(py, logits, rows, columns)
        })
    }

    /// The token ids of a text.
    fn tokenize(&self, py: Python<'_>, text: String, add_special: bool) -> PyResult<Vec<u32>> {
        let model = self.0.handle(py)?;
        detached(py, || model.tokenize(&text, add_special))
    }

    /// The text of token ids.
    fn detokenize(&self, py: Python<'_>, ids: Vec<u32>, skip_special: bool) -> PyResult<String> {
        let model = self.0.handle(py)?;
        detached(py, || model.detokenize(&ids, skip_special))
    }

    /// The prompt that a `ConverseRequest` becomes.
    fn chat_prompt(
        &self,
        py: Python<'_>,
        request: &str,
        add_generation_prompt: bool,
    ) -> PyResult<String> {
        let model = self.0.handle(py)?;
        detached(py, || {
            let request = convert::conversation(request)?;
            model.chat_prompt(&request, add_generation_prompt)
        })
    }
}
