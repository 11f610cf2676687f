//! Which body format a model's callers speak.

use outcrop_api::{Error, ModelKind, Result};
use serde_json::Value;

use super::chat::Chat;
use super::embedding::EmbeddingFormat;
use super::llama::Llama;
use super::messages::Messages;
use super::mistral::Mistral;
use super::nova::Nova;
use super::text_format::TextFormat;
use super::titan_text::TitanText;

/// A family of body formats.
pub(super) enum Family {
    /// Text from text.
    Text(Box<dyn TextFormat>),
    /// Vectors from text.
    Embedding(EmbeddingFormat),
    /// Scores from a query and documents: Cohere's and Amazon's are one format.
    Rerank,
}

impl Family {
    /// The family of the model that is asked for by `name`: by its id on Bedrock, or, where the id
    /// is none of Bedrock's, by what the model is for and the members of `body`.
    ///
    /// # Errors
    /// `ValidationException` for a body that is of no format.
    pub fn of(name: &str, kind: ModelKind, body: &Value) -> Result<Self> {
        let has = |provider: &str| name.contains(provider);
        let text = |format: Box<dyn TextFormat>| Ok(Self::Text(format));
        if has("rerank") || kind == ModelKind::Rerank {
            Ok(Self::Rerank)
        } else if has("cohere.embed") {
            Ok(Self::Embedding(EmbeddingFormat::Cohere))
        } else if has("amazon.titan-embed") {
            Ok(Self::Embedding(EmbeddingFormat::Titan))
        } else if has("amazon.nova-2-multimodal-embeddings") {
            Ok(Self::Embedding(EmbeddingFormat::Nova))
        } else if has("amazon.nova") {
            text(Box::new(Nova))
        } else if has("amazon.titan-text") {
            text(Box::new(TitanText))
        } else if has("anthropic.") {
            text(Box::new(Messages::new(name)))
        } else if has("meta.llama") {
            text(Box::new(Llama))
        } else if has("openai.") || has("mistral.") && body.get("messages").is_some() {
            text(Box::new(Chat::new(name)))
        } else if has("mistral.") {
            text(Box::new(Mistral))
        } else {
            Self::by_members(name, kind, body)
        }
    }

    /// The family of a body for a model whose id says nothing.
    fn by_members(name: &str, kind: ModelKind, body: &Value) -> Result<Self> {
        let has = |member: &str| body.get(member).is_some();
        let found: Option<Self> = match kind {
            ModelKind::Embedding if has("texts") => Some(Self::Embedding(EmbeddingFormat::Cohere)),
            ModelKind::Embedding if has("taskType") => Some(Self::Embedding(EmbeddingFormat::Nova)),
            ModelKind::Embedding => Some(Self::Embedding(EmbeddingFormat::Titan)),
            _ if has("anthropic_version") => Some(Self::Text(Box::new(Messages::new(name)))),
            _ if has("inputText") => Some(Self::Text(Box::new(TitanText))),
            _ if has("max_gen_len") => Some(Self::Text(Box::new(Llama))),
            _ if body["messages"][0]["content"].is_string() => {
                Some(Self::Text(Box::new(Chat::new(name))))
            }
            _ if has("messages") => Some(Self::Text(Box::new(Nova))),
            _ if has("prompt") => Some(Self::Text(Box::new(Mistral))),
            _ => None,
        };
        found.ok_or_else(|| {
            Error::validation(
                "Malformed input request: #: expected a body with messages, prompt or inputText, \
                 please reformat your input and try again.",
            )
        })
    }
}
