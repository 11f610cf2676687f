//! Bounds of an engine, and what follows from them for a model.

use outcrop_api::{Error, Result};

use crate::decoder_config::DecoderConfig;

/// Bytes that the KV cache may grow to where the options do not say.
const DEFAULT_KV_BYTES: usize = 4 << 30;

/// Bounds of an engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineOptions {
    /// Most sequences in flight, at least 1. Default 16.
    pub max_batch: usize,
    /// Most prompt tokens of one step, at least 1; a quarter of it beside decoding sequences.
    /// Default 256.
    pub prefill_chunk: usize,
    /// Most requests that wait beside those in flight; one more is a `ThrottlingException`.
    /// Default 256.
    pub queue: usize,
    /// Tokens that the KV cache holds for all sequences together. Default: `max_batch` full
    /// contexts, or what 4 GiB hold where that is less. Memory is taken as sequences need it.
    pub kv_tokens: Option<usize>,
    /// Most tokens of one sequence. Default: the model's context, or what `kv_tokens` holds where
    /// that is less.
    pub context_length: Option<usize>,
    /// Threads that compute. Default: the process's shared pool.
    pub threads: Option<usize>,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            max_batch: 16,
            prefill_chunk: 256,
            queue: 256,
            kv_tokens: None,
            context_length: None,
            threads: None,
        }
    }
}

/// Tokens that the KV cache holds, and most tokens of one sequence.
pub(crate) fn capacity(config: &DecoderConfig, options: &EngineOptions) -> Result<(usize, usize)> {
    for (name, value) in [
        ("max_batch", options.max_batch),
        ("prefill_chunk", options.prefill_chunk),
    ] {
        if value == 0 {
            return Err(Error::validation(format!(
                "{name}: expected at least 1, got 0"
            )));
        }
    }
    let longest = config.context_length;
    if let Some(wrong) = options
        .context_length
        .filter(|n| !(2..=longest).contains(n))
    {
        return Err(Error::validation(format!(
            "context_length: expected 2..={longest}, the model's context, got {wrong}"
        )));
    }
    if let Some(wrong) = options.kv_tokens.filter(|n| *n < 2) {
        return Err(Error::validation(format!(
            "kv_tokens: expected at least 2, got {wrong}"
        )));
    }
    let context = options.context_length.unwrap_or(longest);
    let token_bytes = 2 * config.layers() * config.kv_size() * size_of::<f32>();
    let kv_tokens = options.kv_tokens.unwrap_or_else(|| {
        let wanted = context.saturating_mul(options.max_batch);
        wanted.min((DEFAULT_KV_BYTES / token_bytes).max(2))
    });
    if let Some(context) = options
        .context_length
        .filter(|context| *context > kv_tokens)
    {
        return Err(Error::validation(format!(
            "kv_tokens: expected at least context_length, {context}, got {kv_tokens}"
        )));
    }
    Ok((kv_tokens, context.min(kv_tokens)))
}
