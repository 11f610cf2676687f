//! Vectors of texts.

use serde::{Deserialize, Serialize};

/// How texts become vectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct EmbedOptions {
    /// Scale each vector to length 1. Default true.
    pub normalize: bool,
    /// Cut a text that is longer than the model reads, keeping its beginning. Default false: such
    /// a text is a `ValidationException` with both numbers.
    pub truncate: bool,
}

impl Default for EmbedOptions {
    fn default() -> Self {
        Self {
            normalize: true,
            truncate: false,
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
