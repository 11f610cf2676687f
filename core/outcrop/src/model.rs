//! A session's handle of a loaded model.

use std::sync::{Arc, Weak};

use outcrop_api::{
    Completion, ConverseRequest, EmbedOptions, Embeddings, Error, EventStream, GenerateRequest,
    ModelInfo, Reply, Result,
};

use crate::session::Session;

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
        self.loaded()?.chat()?.converse(request).await
    }

    /// Answers a conversation as it is being written. Dropping the stream stops the work.
    ///
    /// # Errors
    /// As [`Model::converse`].
    pub async fn stream(&self, request: ConverseRequest) -> Result<Box<dyn EventStream>> {
        self.loaded()?.chat()?.converse_stream(request).await
    }

    /// Continues a prompt, without a chat template.
    ///
    /// # Errors
    /// As [`Model::converse`].
    pub async fn generate(&self, request: GenerateRequest) -> Result<Completion> {
        self.loaded()?.engine()?.generate(request).await
    }

    /// Continues a prompt as it is being written. Dropping the stream stops the work.
    ///
    /// # Errors
    /// As [`Model::converse`].
    pub async fn generate_stream(&self, request: GenerateRequest) -> Result<Box<dyn EventStream>> {
        self.loaded()?.engine()?.generate_stream(request).await
    }

    /// Vectors of texts, one row each, in order.
    ///
    /// # Errors
    /// `ValidationException` for a text longer than the model reads, or a model that does not embed.
    pub async fn embed(&self, texts: Vec<String>, options: EmbedOptions) -> Result<Embeddings> {
        self.loaded()?.embedder()?.embed(&texts, options).await
    }

    /// One score a text for the query, in order: the model's raw output, higher is more relevant.
    ///
    /// # Errors
    /// `ValidationException` for a text longer than the model reads, or a model that does not rerank.
    pub async fn rerank(&self, query: String, texts: Vec<String>) -> Result<Vec<f32>> {
        self.loaded()?.reranker()?.rerank(&query, &texts).await
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
    /// [`ModelInfo::vocabulary`].
    ///
    /// # Errors
    /// `ValidationException` for more ids than the context holds, or a model that is no decoder.
    pub async fn logits(&self, ids: Vec<u32>) -> Result<Vec<f32>> {
        self.loaded()?.engine()?.logits(&ids).await
    }

    fn loaded(&self) -> Result<Arc<outcrop_models::Model>> {
        self.session.check()?;
        self.loaded
            .upgrade()
            .ok_or_else(|| Error::validation("session is closed"))
    }
}

impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Model").field("info", &self.info).finish()
    }
}
