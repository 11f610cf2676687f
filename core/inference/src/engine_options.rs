//! Bounds of an engine, and what follows from them for a model.

use std::path::PathBuf;

use outcrop_api::{Error, Result, Speculation};

use crate::block_pool::PAGE_TOKENS;
use crate::decoder_config::DecoderConfig;
use crate::device::Device;
use crate::kv_cache::KvDtype;

/// Bytes that the KV cache may grow to where the options do not say.
const DEFAULT_KV_BYTES: usize = 4 << 30;

/// Bounds of an engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineOptions {
    /// Most sequences in flight, at least 1. Default 16.
    pub max_batch: usize,
    /// Most tokens of one step, at least 1: those of decoding sequences first, then prompts, which
    /// get at most a quarter of it beside decoding sequences. Default 256.
    pub step_tokens: usize,
    /// Most requests that wait beside those in flight; one more is a `ThrottlingException`.
    /// Default 256.
    pub queue: usize,
    /// Tokens that the KV cache holds for all sequences and known prefixes together. Default:
    /// `max_batch` full contexts, or what 4 GiB hold where that is less. Memory is taken as they
    /// need it.
    pub kv_tokens: Option<usize>,
    /// The same as a number of bytes: a bound of the KV cache's memory. One of the two at most.
    pub kv_bytes: Option<usize>,
    /// How keys and values are stored. Default: F32, with which nothing is rounded.
    pub kv_dtype: KvDtype,
    /// Most tokens of one sequence. Default: the model's context, or what `kv_tokens` holds where
    /// that is less.
    pub context_length: Option<usize>,
    /// How tokens are guessed ahead where the request does not say. Default: not at all.
    pub speculation: Speculation,
    /// The model that guesses ahead for [`Speculation::Draft`]: a small one of the same vocabulary.
    /// Its keys and values are part of the KV budget.
    pub draft: Option<PathBuf>,
    /// Threads that compute. Default: the process's shared pool.
    pub threads: Option<usize>,
    /// Where it computes. Default: the CPU. On a GPU the KV cache's memory is taken at once.
    pub device: Device,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            max_batch: 16,
            step_tokens: 256,
            queue: 256,
            kv_tokens: None,
            kv_bytes: None,
            kv_dtype: KvDtype::F32,
            context_length: None,
            speculation: Speculation::Off,
            draft: None,
            threads: None,
            device: Device::Cpu,
        }
    }
}

/// Bytes of one token's keys and values.
///
/// # Errors
/// `ValidationException` where `dtype` cannot store heads of the model's length.
pub(crate) fn token_bytes(config: &DecoderConfig, dtype: KvDtype) -> Result<usize> {
    if dtype == KvDtype::Q8_0 && !config.head_dim.is_multiple_of(32) {
        return Err(Error::validation(format!(
            "kv_dtype: expected F32 or F16 for heads of {} elements, no multiple of 32, got Q8_0",
            config.head_dim
        )));
    }
    Ok(2 * config.layers() * dtype.bytes(config.kv_size()))
}

/// Tokens that the KV cache holds, and most tokens of one sequence. A token takes `draft_bytes` in the
/// draft model's cache.
pub(crate) fn capacity(
    config: &DecoderConfig,
    options: &EngineOptions,
    draft_bytes: usize,
) -> Result<(usize, usize)> {
    if options.speculation == Speculation::Draft && options.draft.is_none() {
        return Err(Error::validation(
            "speculation: expected a draft model beside it, the option draft, got none",
        ));
    }
    for (name, value) in [
        ("max_batch", options.max_batch),
        ("step_tokens", options.step_tokens),
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
    let token_bytes = token_bytes(config, options.kv_dtype)? + draft_bytes;
    let kv_tokens = stated_tokens(options, token_bytes)?.unwrap_or_else(|| {
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

/// The tokens that the stated budget holds, where there is one.
fn stated_tokens(options: &EngineOptions, token_bytes: usize) -> Result<Option<usize>> {
    let Some(bytes) = options.kv_bytes else {
        return Ok(options.kv_tokens);
    };
    if let Some(tokens) = options.kv_tokens {
        return Err(Error::validation(format!(
            "kv_bytes: expected it or kv_tokens, got both: {bytes} bytes and {tokens} tokens"
        )));
    }
    let page_bytes = PAGE_TOKENS * token_bytes;
    if bytes < page_bytes {
        return Err(Error::validation(format!(
            "kv_bytes: expected at least {page_bytes}, what {PAGE_TOKENS} tokens take, got {bytes}"
        )));
    }
    Ok(Some(bytes / page_bytes * PAGE_TOKENS))
}
