//! A session's handle of a loaded model.

use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;

use outcrop_api::{
    AdapterInfo, Completion, ConverseRequest, EmbedOptions, Embeddings, Error, EventStream,
    GenerateRequest, ModelInfo, OutputFormat, Perplexity, PerplexityOptions, Prompt, Reply, Result,
    Usage,
};
use outcrop_inference::{Engine, EngineStatistics};
use serde::Serialize;
use serde_json::Value;

use crate::desk::{Record, watch_answer};
use crate::session::{Session, blocking};

/// A loaded model. Handles are cheap, and all handles of one id share the loaded weights, which
/// belong to the session: closing it frees them, whatever handles are left.
#[derive(Clone)]
pub struct Model {
    session: Session,
    info: ModelInfo,
    loaded: Weak<outcrop_models::Model>,
}

impl Model {
    pub(crate) fn new(session: Session, loaded: &Arc<outcrop_models::Model>) -> Self {
        Self {
            session,
            info: loaded.info(),
            loaded: Arc::downgrade(loaded),
        }
    }

    /// The id that it was opened by.
    pub fn id(&self) -> &str {
        &self.info.id
    }

    /// What is known of it.
    pub fn info(&self) -> &ModelInfo {
        &self.info
    }

    /// Answers a conversation.
    ///
    /// # Errors
    /// `ValidationException` for a request that the model cannot serve, or a model that does not
    /// chat; `ThrottlingException` where the engine's queue is full.
    pub async fn converse(&self, request: ConverseRequest) -> Result<Reply> {
        let named = naming(request.output_format.as_ref());
        let record = self.record("Converse")?;
        record.request(|| json_of(&request));
        let noted = record.clone();
        let work = async {
            let reply = self.loaded()?.chat()?.converse(request).await;
            reply.inspect(|reply| {
                noted.usage(&reply.usage);
                noted.response(|| json_of(reply));
            })
        };
        record.run(work).await.map_err(named)
    }

    /// Answers a conversation as it is being written. Dropping the stream stops the work.
    ///
    /// # Errors
    /// As [`Model::converse`].
    pub async fn stream(&self, request: ConverseRequest) -> Result<Box<dyn EventStream>> {
        let named = naming(request.output_format.as_ref());
        let record = self.record("ConverseStream")?;
        record.request(|| json_of(&request));
        let opened = async { self.loaded()?.chat()?.converse_stream(request).await };
        watched(record, opened).await.map_err(named)
    }

    /// Continues a prompt, without a chat template.
    ///
    /// # Errors
    /// As [`Model::converse`].
    pub async fn generate(&self, request: GenerateRequest) -> Result<Completion> {
        let named = naming(request.output_format.as_ref());
        let record = self.record("InvokeModel")?;
        record.request(|| json_of(&request));
        let noted = record.clone();
        let work = async {
            let completion = self.loaded()?.engine()?.generate(request).await;
            completion.inspect(|completion| {
                noted.usage(&completion.usage);
                noted.response(|| json_of(completion));
            })
        };
        record.run(work).await.map_err(named)
    }

    /// Continues a prompt as it is being written. Dropping the stream stops the work.
    ///
    /// # Errors
    /// As [`Model::converse`].
    pub async fn generate_stream(&self, request: GenerateRequest) -> Result<Box<dyn EventStream>> {
        let named = naming(request.output_format.as_ref());
        let record = self.record("InvokeModelWithResponseStream")?;
        record.request(|| json_of(&request));
        let opened = async { self.loaded()?.engine()?.generate_stream(request).await };
        watched(record, opened).await.map_err(named)
    }

    /// Vectors of texts, one row each, in order.
    ///
    /// # Errors
    /// `ValidationException` for a text longer than the model reads, or a model that does not embed.
    pub async fn embed(&self, texts: Vec<String>, options: EmbedOptions) -> Result<Embeddings> {
        let record = self.record("InvokeModel")?;
        let noted = record.clone();
        let work = async {
            let vectors = self.loaded()?.embedder()?.embed(&texts, options).await;
            vectors.inspect(|vectors| noted.usage(&Usage::new(vectors.input_tokens, 0)))
        };
        record.run(work).await
    }

    /// One score a text for the query, in order: the model's raw output, higher is more relevant.
    ///
    /// # Errors
    /// `ValidationException` for a text longer than the model reads, or a model that does not rerank.
    pub async fn rerank(&self, query: String, texts: Vec<String>) -> Result<Vec<f32>> {
        let work = async { self.loaded()?.reranker()?.rerank(&query, &texts).await };
        self.record("InvokeModel")?.run(work).await
    }

    /// The token ids of a text; `add_special` adds what the tokenizer's post-processor adds.
    ///
    /// # Errors
    /// `ValidationException` for a model without a tokenizer.
    pub fn tokenize(&self, text: &str, add_special: bool) -> Result<Vec<u32>> {
        self.loaded()?.tokenizer()?.encode(text, add_special)
    }

    /// The text of token ids; `skip_special` leaves special tokens out.
    ///
    /// # Errors
    /// `ValidationException` for an id that the vocabulary has not.
    pub fn detokenize(&self, ids: &[u32], skip_special: bool) -> Result<String> {
        self.loaded()?.tokenizer()?.decode(ids, skip_special)
    }

    /// The text of each of `ids` on its own, special tokens included; bytes that are no whole
    /// character show as U+FFFD.
    ///
    /// # Errors
    /// As [`Model::detokenize`].
    pub fn token_texts(&self, ids: &[u32]) -> Result<Vec<String>> {
        let loaded = self.loaded()?;
        let tokenizer = loaded.tokenizer()?;
        ids.iter()
            .map(|&id| tokenizer.decode(&[id], false))
            .collect()
    }

    /// The prompt that a conversation becomes, by the model's chat template.
    ///
    /// # Errors
    /// `ValidationException` for a model without a chat template.
    pub fn chat_prompt(
        &self,
        request: &ConverseRequest,
        add_generation_prompt: bool,
    ) -> Result<String> {
        self.loaded()?
            .engine()?
            .chat_prompt(request, add_generation_prompt)
    }

    /// Logits after each of `ids`, row-major `(ids, vocabulary)`; the width is
    /// [`ModelInfo::vocabulary`]. `adapter` names a loaded LoRA adapter.
    ///
    /// # Errors
    /// `ValidationException` for more ids than the context holds, or a model that is no decoder;
    /// `ResourceNotFoundException` for an adapter that is not loaded.
    pub async fn logits(&self, ids: Vec<u32>, adapter: Option<String>) -> Result<Vec<f32>> {
        let work = async {
            let loaded = self.loaded()?;
            loaded.engine()?.logits_with(&ids, adapter.as_deref()).await
        };
        self.record("InvokeModel")?.run(work).await
    }

    /// Loads the PEFT LoRA adapter in `folder` beside the model. Requests then choose it by `name`;
    /// an adapter of that name is replaced for requests to come.
    ///
    /// # Errors
    /// `ResourceNotFoundException` where nothing is at `folder`; `ModelErrorException` for files
    /// that are damaged, not supported or do not fit this model; `ValidationException` for an empty
    /// name, or a model that is no decoder.
    pub async fn load_adapter(&self, name: String, folder: PathBuf) -> Result<AdapterInfo> {
        let loaded = self.loaded()?;
        blocking(move || loaded.engine()?.load_adapter(&name, &folder)).await
    }

    /// Lets go of the adapter `name`. Requests that run with it end with it.
    ///
    /// # Errors
    /// `ResourceNotFoundException` that lists the loaded ones.
    pub fn unload_adapter(&self, name: &str) -> Result<()> {
        self.loaded()?.engine()?.unload_adapter(name)
    }

    /// The loaded adapters, by name; none for a model that takes none.
    ///
    /// # Errors
    /// `ValidationException` where the session is closed.
    pub fn adapters(&self) -> Result<Vec<AdapterInfo>> {
        let loaded = self.loaded()?;
        Ok(loaded.engine().map(Engine::adapters).unwrap_or_default())
    }

    /// Log-probabilities (natural) of each token of `continuation` after `prompt` and the tokens of
    /// `continuation` before it, by the model's own softmax. Two texts are tokenised as one.
    /// `adapter` names a loaded LoRA adapter.
    ///
    /// # Errors
    /// `ValidationException` for a prompt or continuation without tokens, for more tokens than the
    /// context holds, or a model that is no decoder.
    pub async fn score(
        &self,
        prompt: Prompt,
        continuation: Prompt,
        adapter: Option<String>,
    ) -> Result<Vec<f32>> {
        let work = async {
            let loaded = self.loaded()?;
            let engine = loaded.engine()?;
            engine
                .score(&prompt, &continuation, adapter.as_deref())
                .await
        };
        self.record("InvokeModel")?.run(work).await
    }

    /// How well the model predicts each of `texts`, and all of them together.
    ///
    /// # Errors
    /// `ValidationException` for no texts, a text of fewer than two tokens, one that is longer than
    /// the window where no stride is given, or a model that is no decoder.
    pub async fn perplexity(
        &self,
        texts: Vec<String>,
        options: PerplexityOptions,
    ) -> Result<Perplexity> {
        let work = async { self.loaded()?.engine()?.perplexity(&texts, &options).await };
        self.record("InvokeModel")?.run(work).await
    }

    /// What the engine of a language model is doing and has done.
    ///
    /// # Errors
    /// `ValidationException` for a model that is no decoder.
    pub fn statistics(&self) -> Result<EngineStatistics> {
        self.loaded()?.engine()?.statistics()
    }

    /// Opens the record of a call that runs the model: the operation `name` of the runtime.
    fn record(&self, name: &str) -> Result<Record> {
        let record = self.session.open_record(name, "modelId", self.id())?;
        record.model(self.id());
        Ok(record)
    }

    /// How long its files took to load, downloads left out.
    pub(crate) fn load_time(&self) -> Result<Duration> {
        Ok(self.loaded()?.load_time())
    }

    pub(crate) fn loaded(&self) -> Result<Arc<outcrop_models::Model>> {
        self.session.check()?;
        self.loaded.upgrade().ok_or_else(|| {
            let id = self.id();
            Error::not_found(format!(
                "model {id}: it was unregistered or replaced after it was opened; open it again"
            ))
            .with_resource(id)
        })
    }
}

/// The stream that `opened` gives, whose end closes the record.
async fn watched(
    record: Record,
    opened: impl Future<Output = Result<Box<dyn EventStream>>>,
) -> Result<Box<dyn EventStream>> {
    match opened.await {
        Ok(stream) => Ok(watch_answer(record, stream)),
        Err(error) => {
            record.close(Some(&error))?;
            Err(error)
        }
    }
}

/// A body as the audit log keeps it.
fn json_of(body: &impl Serialize) -> Value {
    serde_json::to_value(body).unwrap_or_default()
}

/// Makes errors of a request's `output_format` name the option that callers ask for it by.
fn naming(form: Option<&OutputFormat>) -> impl FnOnce(Error) -> Error + use<> {
    let option = form.map(OutputFormat::option);
    move |error| {
        let member = error.message().strip_prefix("output_format");
        let (Some(rest), Some(option)) = (member, option) else {
            return error;
        };
        let rest = rest.strip_prefix(&format!(".{option}")).unwrap_or(rest);
        Error::new(error.kind(), format!("{option}{rest}")).with_source(error)
    }
}

impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Model").field("info", &self.info).finish()
    }
}
