//! Vectors of texts.

use serde::{Deserialize, Serialize};

/// How texts become vectors.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct EmbedOptions {
    /// Scale each vector to length 1. Default true.
    pub normalize: bool,
    /// Cut a text that is longer than the model reads, keeping its beginning. Default false: such
    /// a text is a `ValidationException` with both numbers.
    pub truncate: bool,
    /// Which of the model's own prompts (instructions, prefixes) goes before each text, by name.
    /// Every model takes [`QUERY_PROMPT`] and [`DOCUMENT_PROMPT`], which say what the texts are and
    /// add nothing where the model has no prompt for that; another name that the model does not
    /// have is a `ValidationException` that lists those it has. Default: the model's default
    /// prompt, which most do not have.
    pub prompt: Option<String>,
}

/// The prompt of texts that look for others.
pub const QUERY_PROMPT: &str = "query";

/// The prompt of texts that are looked for.
pub const DOCUMENT_PROMPT: &str = "document";

impl EmbedOptions {
    /// The defaults with the prompt of that name.
    pub fn with_prompt(name: &str) -> Self {
        Self {
            prompt: Some(name.to_owned()),
            ..Self::default()
        }
    }
}

impl Default for EmbedOptions {
    fn default() -> Self {
        Self {
            normalize: true,
            truncate: false,
            prompt: None,
        }
    }
}

/// Vectors of texts, row-major `(texts, dimensions)`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Embeddings {
    /// The numbers, `texts * dimensions` of them.
    pub values: Vec<f32>,
    /// Length of one vector.
    pub dimensions: usize,
    /// Tokens read, special tokens included.
    pub input_tokens: usize,
}

impl Embeddings {
    /// The vectors, one slice a text.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &[f32]> {
        self.values.chunks_exact(self.dimensions.max(1))
    }
}
