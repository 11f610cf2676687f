//! A loaded model's handle.

use std::path::PathBuf;

use outcrop::Feed;
use outcrop::api::{EmbedOptions, GenerateRequest};
use pyo3::prelude::*;
use serde::de::DeserializeOwned;

use crate::convert;
use crate::error::{detached, raise};
use crate::future::{Object, run, run_here, run_json};
use crate::prefix::Prefix;
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
        let request = outcrop::conversation(request).map_err(|error| raise(py, error))?;
        let model = self.0.handle(py)?;
        run_here(
            py,
            awaitable,
            async move { model.converse(request).await },
            |py, reply| convert::json_string(py, &reply),
        )
    }

    /// The events of the reply to a `ConverseRequest`.
    fn stream(&self, py: Python<'_>, request: &str) -> PyResult<Stream> {
        let request = outcrop::conversation(request).map_err(|error| raise(py, error))?;
        let model = self.0.handle(py)?;
        Stream::start(py, || Feed::converse(model, request))
    }

    /// The completion of a `GenerateRequest`, both as JSON.
    fn generate(&self, py: Python<'_>, request: &str, awaitable: bool) -> PyResult<Object> {
        let request: GenerateRequest = parsed(py, "request", request)?;
        let model = self.0.handle(py)?;
        run_json(py, awaitable, async move { model.generate(request).await })
    }

    /// The events of the completion of a `GenerateRequest`.
    fn generate_stream(&self, py: Python<'_>, request: &str) -> PyResult<Stream> {
        let request: GenerateRequest = parsed(py, "request", request)?;
        let model = self.0.handle(py)?;
        Stream::start(py, || Feed::generate(model, request))
    }

    /// Vectors of texts, float32 `(texts, dimensions)`.
    fn embed(
        &self,
        py: Python<'_>,
        texts: Vec<String>,
        options: &str,
        awaitable: bool,
    ) -> PyResult<Object> {
        let options: EmbedOptions = parsed(py, "options", options)?;
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
    fn logits(
        &self,
        py: Python<'_>,
        ids: Vec<u32>,
        adapter: Option<String>,
        awaitable: bool,
    ) -> PyResult<Object> {
        let (model, rows) = (self.0.handle(py)?, ids.len());
        let columns = model.info().vocabulary.unwrap_or(0);
        let call = async move { model.logits(ids, adapter).await };
        run(py, awaitable, call, move |py, logits| {
            convert::matrix(py, logits, rows, columns)
        })
    }

    /// Log-probabilities of the tokens of a continuation, float32 `(tokens,)`; it and the prompt
    /// as JSON.
    fn score(
        &self,
        py: Python<'_>,
        prompt: &str,
        continuation: &str,
        adapter: Option<String>,
        awaitable: bool,
    ) -> PyResult<Object> {
        let prompt = parsed(py, "prompt", prompt)?;
        let continuation = parsed(py, "continuation", continuation)?;
        let model = self.0.handle(py)?;
        let call = async move { model.score(prompt, continuation, adapter).await };
        run(py, awaitable, call, convert::vector)
    }

    /// The perplexity of texts by `PerplexityOptions`, both as JSON.
    fn perplexity(
        &self,
        py: Python<'_>,
        texts: Vec<String>,
        options: &str,
        awaitable: bool,
    ) -> PyResult<Object> {
        let options = parsed(py, "options", options)?;
        let model = self.0.handle(py)?;
        let call = async move { model.perplexity(texts, options).await };
        run_json(py, awaitable, call)
    }

    /// The prefix that a prompt, given as JSON, begins with.
    fn prefix(&self, py: Python<'_>, prompt: &str, awaitable: bool) -> PyResult<Object> {
        let (model, prompt) = (self.0.handle(py)?, parsed(py, "prompt", prompt)?);
        Prefix::made_by(py, awaitable, async move { model.prefix(prompt).await })
    }

    /// The prefix that was saved to a file.
    fn load_prefix(&self, py: Python<'_>, file: PathBuf, awaitable: bool) -> PyResult<Object> {
        let model = self.0.handle(py)?;
        Prefix::made_by(py, awaitable, async move { model.load_prefix(file).await })
    }

    /// Loads a PEFT LoRA adapter; what is known of it as JSON.
    fn load_adapter(
        &self,
        py: Python<'_>,
        name: String,
        folder: PathBuf,
        awaitable: bool,
    ) -> PyResult<Object> {
        let model = self.0.handle(py)?;
        let call = async move { model.load_adapter(name, folder).await };
        run_json(py, awaitable, call)
    }

    /// Lets go of an adapter.
    fn unload_adapter(&self, py: Python<'_>, name: &str) -> PyResult<()> {
        let model = self.0.handle(py)?;
        detached(py, || model.unload_adapter(name))
    }

    /// The loaded adapters as a JSON list.
    fn adapters(&self, py: Python<'_>) -> PyResult<Object> {
        let model = self.0.handle(py)?;
        let adapters = detached(py, || model.adapters())?;
        convert::json_string(py, &adapters)
    }

    /// What the engine is doing and has done, as JSON.
    fn stats(&self, py: Python<'_>) -> PyResult<Object> {
        let model = self.0.handle(py)?;
        let statistics = detached(py, || model.statistics())?;
        convert::json_string(py, &statistics)
    }

    /// How fast the model is, as a JSON list of measurements.
    fn bench(&self, py: Python<'_>, awaitable: bool) -> PyResult<Object> {
        let model = self.0.handle(py)?;
        run_json(py, awaitable, async move { model.bench(|_| {}).await })
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

    /// The text of each token id on its own.
    fn token_texts(&self, py: Python<'_>, ids: Vec<u32>) -> PyResult<Vec<String>> {
        let model = self.0.handle(py)?;
        detached(py, || model.token_texts(&ids))
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
            let request = outcrop::conversation(request)?;
            model.chat_prompt(&request, add_generation_prompt)
        })
    }
}

/// The value that the JSON of `field` holds.
pub fn parsed<T: DeserializeOwned>(py: Python<'_>, field: &str, json: &str) -> PyResult<T> {
    outcrop::from_json(field, json).map_err(|error| raise(py, error))
}
