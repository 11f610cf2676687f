//! What a model will need of memory, told before it is loaded.

use std::path::Path;

use outcrop_api::{MemoryEstimate, Result};

use crate::decoder_config::DecoderConfig;
use crate::encoder::EncoderConfig;
use crate::engine_options::{EngineOptions, capacity, token_bytes};
use crate::sequence::MAX_LOGIT_ROWS;
use crate::weights::{Checkpoint, ModelSource};

/// Bytes of the program itself with its threads.
const PROGRAM: u64 = 24 << 20;

/// Bytes of the tokenizer's tables for one token of the vocabulary, merges included.
const TOKEN_TABLES: u64 = 512;

/// Tokens of one forward pass of an encoder.
const ENCODER_TOKENS: u64 = 2048;

/// The memory that the model at `path` needs when it is opened with `options`. Headers and
/// configuration are read, no weights.
///
/// # Errors
/// As those of [`crate::Engine::load`] that do not concern the weights themselves.
pub fn estimate(path: &Path, options: &EngineOptions) -> Result<MemoryEstimate> {
    let checkpoint = Checkpoint::open(path)?;
    let weights = checkpoint.bytes();
    if let ModelSource::HuggingFace { config, .. } = checkpoint.config()
        && let Ok(encoder) = EncoderConfig::from_json(config)
    {
        let widths = 6 * encoder.hidden + 2 * encoder.intermediate;
        let pass = ENCODER_TOKENS * widths as u64 * size_of::<f32>() as u64;
        return Ok(sum(
            weights,
            (0, 0),
            pass + encoder.vocabulary as u64 * TOKEN_TABLES,
        ));
    }
    let config = DecoderConfig::from_source(checkpoint.config())?;
    let (kv_tokens, _) = capacity(&config, options, 0)?;
    let token = token_bytes(&config, options.kv_dtype)?;
    let tables = config.vocab_size as u64 * TOKEN_TABLES;
    let working = pass_bytes(&config, options) + tables;
    Ok(sum(weights, (token as u64, kv_tokens as u64), working))
}

/// Bytes of a decoder's largest step.
fn pass_bytes(config: &DecoderConfig, options: &EngineOptions) -> u64 {
    let rows = options.step_tokens;
    let widths = 3 * config.hidden_size
        + 2 * config.query_size()
        + 2 * config.kv_size()
        + 2 * config.intermediate_size;
    let logits = (options.max_batch + MAX_LOGIT_ROWS) * config.vocab_size;
    ((rows * widths + logits) * size_of::<f32>()) as u64
}

/// The estimate of its parts: `kv` is bytes a token, and tokens.
fn sum(weights: u64, kv: (u64, u64), working: u64) -> MemoryEstimate {
    let (kv_bytes, working) = (kv.0 * kv.1, working + PROGRAM);
    let (total, available) = (weights + kv_bytes + working, available());
    MemoryEstimate {
        weights,
        kv_bytes_per_token: kv.0,
        kv_tokens: kv.1,
        kv_bytes,
        working,
        total,
        available,
        fits: available.map(|available| total <= available),
    }
}

/// Bytes that this process may still take: what the machine has, or the control group leaves.
fn available() -> Option<u64> {
    let meminfo = std::fs::read_to_string("/proc/meminfo").ok()?;
    let machine = field(&meminfo, "MemAvailable:")? * 1024;
    Some(group_left().map_or(machine, |left| left.min(machine)))
}

/// Bytes that the limit of this process's control group (version 2, or 1) leaves. Pages of files
/// that are not in use are given back for others, so they count as left.
fn group_left() -> Option<u64> {
    let folders = [
        (
            "/sys/fs/cgroup",
            "memory.max",
            "memory.current",
            "inactive_file",
        ),
        (
            "/sys/fs/cgroup/memory",
            "memory.limit_in_bytes",
            "memory.usage_in_bytes",
            "total_inactive_file",
        ),
    ];
    folders
        .into_iter()
        .find_map(|(folder, limit, used, inactive)| {
            let read = |file: &str| std::fs::read_to_string(format!("{folder}/{file}")).ok();
            let number = |file: &str| read(file)?.trim().parse::<u64>().ok();
            let (limit, used) = (number(limit)?, number(used)?);
            let reclaimed = field(&read("memory.stat")?, inactive).unwrap_or(0);
            Some(limit.saturating_sub(used.saturating_sub(reclaimed)))
        })
}

/// The number behind `name` in lines of names and numbers.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some(name)).then(|| words.next()?.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_by_their_whole_names() {
        let text = "MemFree: 12 kB\nMemAvailable:   345 kB\ninactive_file 7";
        assert_eq!(field(text, "MemAvailable:"), Some(345));
        assert_eq!(field(text, "inactive_file"), Some(7));
        assert_eq!(field(text, "Mem"), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_machine_tells_what_it_has_left() {
        assert!(available().is_some_and(|bytes| bytes > 1 << 20));
    }
}
