//! What a model will need of memory, told before it is loaded.

use std::path::Path;

use outcrop_api::{MemoryEstimate, ModelKind, Result};

use crate::backbone::PASS_TOKENS;
use crate::decoder_config::DecoderConfig;
use crate::dense::Precision;
use crate::encoder::EncoderConfig;
use crate::engine_options::{EngineOptions, capacity, token_bytes};
use crate::model_kind::{kind_of_metadata, model_kind};
use crate::sequence::MAX_LOGIT_ROWS;
use crate::weights::{Checkpoint, ModelSource};

/// Bytes of the program itself with its threads.
const PROGRAM: u64 = 24 << 20;

/// Bytes of the tokenizer's tables for one token of the vocabulary, merges included.
const TOKEN_TABLES: u64 = 512;

/// Parts of the names of an encoder's tables of tokens, in folders and in GGUF files.
const TABLES: [&str; 3] = ["embeddings.", "_embd.", "token_types."];

/// The memory that the model at `path` needs when it is opened with `options`, with a draft model
/// where they name one, or, where it embeds or reranks, at `precision`. Headers and configuration are
/// read, no weights.
///
/// # Errors
/// As those of [`crate::Engine::load`] that do not concern the weights themselves.
pub fn estimate(
    path: &Path,
    options: &EngineOptions,
    precision: Precision,
) -> Result<MemoryEstimate> {
    let checkpoint = Checkpoint::open(path)?;
    let (kind, encoder) = match checkpoint.config() {
        ModelSource::HuggingFace { config, .. } => {
            (model_kind(path, config)?, EncoderConfig::from_json(config))
        }
        ModelSource::Gguf { metadata } => (
            kind_of_metadata(path, metadata)?,
            EncoderConfig::from_gguf(metadata, &checkpoint),
        ),
    };
    if let Ok(encoder) = encoder {
        return Ok(of_encoder(&checkpoint, &encoder, precision));
    }
    let config = DecoderConfig::from_source(checkpoint.config())?;
    let tables = config.vocab_size as u64 * TOKEN_TABLES;
    if kind != ModelKind::Chat {
        return Ok(of_reading_decoder(&checkpoint, &config, tables));
    }
    let mut weights = checkpoint.bytes();
    let mut working = pass_bytes(&config, options) + tables;
    let mut draft_bytes = 0;
    if let Some(path) = &options.draft {
        let checkpoint = Checkpoint::open(path)?;
        let draft = DecoderConfig::from_source(checkpoint.config())?;
        weights += checkpoint.bytes();
        working += pass_bytes(&draft, options);
        draft_bytes = token_bytes(&draft, options.kv_dtype)?;
    }
    let (kv_tokens, _) = capacity(&config, options, draft_bytes)?;
    let token = token_bytes(&config, options.kv_dtype)? + draft_bytes;
    Ok(sum(weights, (token as u64, kv_tokens as u64), working))
}

/// The memory of an encoder: the tables of tokens are read where they stand in the file; the matrices
/// of layers are held in F32, or as blocks of bytes, whatever the file stores.
fn of_encoder(
    checkpoint: &Checkpoint,
    config: &EncoderConfig,
    precision: Precision,
) -> MemoryEstimate {
    let held = |(name, shape, _, bytes): (&str, &[usize], String, &[u8])| {
        let elements = shape.iter().product::<usize>() as u64;
        let is_table = TABLES.iter().any(|part| name.contains(part));
        match (shape.len() > 1, is_table, precision) {
            (_, true, _) => bytes.len() as u64,
            (true, _, Precision::Int8) => elements + elements / 32 * 2,
            _ => 4 * elements,
        }
    };
    let weights = checkpoint.tensors().map(held).sum();
    // While a layer is made smaller it stands there in F32 too.
    let made = match precision {
        Precision::F32 => 0,
        Precision::Int8 => 4 * (4 * config.hidden + 3 * config.intermediate) * config.hidden,
    };
    let widths = 6 * config.hidden + 2 * config.intermediate;
    let pass = PASS_TOKENS.max(config.context_length) * widths * size_of::<f32>();
    let tables = config.vocabulary as u64 * TOKEN_TABLES;
    sum(weights, (0, 0), (pass + made) as u64 + tables)
}

/// The memory of a decoder that embeds or reranks: it keeps keys and values of one pass.
fn of_reading_decoder(
    checkpoint: &Checkpoint,
    config: &DecoderConfig,
    tables: u64,
) -> MemoryEstimate {
    let widths = row_widths(config) + 2 * config.layers() * config.kv_size();
    let pass = PASS_TOKENS.max(config.context_length) * widths * size_of::<f32>();
    sum(checkpoint.bytes(), (0, 0), pass as u64 + tables)
}

/// Numbers that a row of a decoder's pass takes.
fn row_widths(config: &DecoderConfig) -> usize {
    3 * config.hidden_size
        + 2 * config.query_size()
        + 2 * config.kv_size()
        + 2 * config.intermediate_size
}

/// Bytes of a decoder's largest step.
fn pass_bytes(config: &DecoderConfig, options: &EngineOptions) -> u64 {
    let rows = options.step_tokens;
    let widths = row_widths(config);
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
