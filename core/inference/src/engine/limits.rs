//! What a prompt and an output may be long.

use outcrop_api::{Error, Result};

use super::Engine;

/// Tokens to generate where the request does not say.
const DEFAULT_MAX_TOKENS: usize = 512;

impl Engine {
    /// Checks that there are ids and that the vocabulary has each.
    pub(crate) fn check_prompt(&self, field: &str, ids: &[u32]) -> Result<()> {
        let vocabulary = self.shared.info.vocabulary.unwrap_or(0);
        if ids.is_empty() {
            return Err(Error::validation(format!(
                "{field}: expected at least 1 token, got 0"
            )));
        }
        match ids.iter().position(|&id| id as usize >= vocabulary) {
            Some(at) => Err(Error::validation(format!(
                "{field}[{at}]: expected a token id below {vocabulary}, got {}",
                ids[at]
            ))),
            None => Ok(()),
        }
    }

    /// Most tokens to generate after a prompt of `prompt` tokens.
    pub(super) fn max_tokens(&self, prompt: usize, requested: Option<usize>) -> Result<usize> {
        let context = self.shared.info.context_length;
        if prompt >= context {
            return Err(self.too_long("prompt", prompt));
        }
        let room = context - prompt;
        match requested {
            Some(max_tokens) if max_tokens > room => Err(Error::validation(format!(
                "max_tokens: expected at most {room} after a prompt of {prompt} tokens in a context of {context}, got {max_tokens}"
            ))),
            Some(max_tokens) => Ok(max_tokens),
            None => Ok(room.min(DEFAULT_MAX_TOKENS)),
        }
    }

    /// The error of a prompt that the context does not hold.
    pub(super) fn too_long(&self, field: &str, tokens: usize) -> Error {
        let context = self.shared.info.context_length;
        Error::validation(format!(
            "{field}: expected fewer tokens than the context of {context}, got {tokens}"
        ))
    }
}
