//! The memory that training will need, told and refused before it starts.

use outcrop_api::{Error, Result};
use outcrop_inference::DecoderConfig;

use crate::decoder::Decoder;
use crate::layers::loss::Head;
use crate::options::TrainingOptions;

/// Bytes of the program itself with its threads.
const PROGRAM: u64 = 24 << 20;

/// What training needs, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryPlan {
    /// Bytes.
    pub bytes: u64,
    /// Whether layers are computed anew on the way back.
    pub recompute: bool,
}

impl MemoryPlan {
    /// The plan for examples of up to `longest` tokens, within `available` bytes beyond what the
    /// decoder itself holds already.
    ///
    /// # Errors
    /// `ValidationException` with both numbers, where it does not fit.
    pub fn new(
        decoder: &Decoder,
        options: &TrainingOptions,
        longest: usize,
        available: Option<u64>,
    ) -> Result<Self> {
        let of = |recompute| Self {
            bytes: bytes(decoder, options, longest, recompute),
            recompute,
        };
        let least = of(options.recompute.unwrap_or(true));
        let usual = of(options.recompute.unwrap_or(false));
        match available {
            Some(available) if least.bytes > available => Err(Error::validation(format!(
                "training needs {} MB of memory for passes of {} tokens, {} MB are available: \
                 expected smaller pass_tokens, shorter examples, an adapter, or a smaller model",
                least.bytes >> 20,
                options.pass_tokens.max(longest),
                available >> 20
            ))),
            Some(available) if usual.bytes > available => Ok(least),
            _ => Ok(usual),
        }
    }
}

/// Bytes that the system would give, where it tells.
pub fn available_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kilobytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kilobytes << 10)
}

fn bytes(decoder: &Decoder, options: &TrainingOptions, longest: usize, recompute: bool) -> u64 {
    let config = decoder.config();
    let tokens = options.pass_tokens.max(longest) as u64;
    let trained = decoder.trained_parameters().values.len() as u64;
    // Gradients and two moments; the best weights where they are kept.
    let copies = 3 + u64::from(options.early_stopping.is_some());
    let (hidden, layers) = (config.hidden_size as u64, config.layers() as u64);
    let kept = match recompute {
        true => layers * hidden + layer_floats(config),
        false => layers * layer_floats(config),
    };
    let per_token = kept + pass_floats(config);
    let table = (config.vocab_size * config.hidden_size) as u64;
    let chunk = Head::chunk(config.vocab_size);
    let head = 2 * table + (chunk * (config.vocab_size + config.hidden_size)) as u64;
    let widest = (config.intermediate_size.max(config.query_size()) as u64).max(hidden);
    // A matrix in tiles of three parts is half as large again.
    let panels = (2 * hidden * widest).max(tokens * widest) * 3 / 2;
    PROGRAM + 4 * (copies * trained + tokens * per_token + head + panels)
}

/// Floats that a layer keeps for a token.
fn layer_floats(config: &DecoderConfig) -> u64 {
    let (query, kv) = (config.query_size(), config.kv_size());
    let after = if config.norms.is_after() { 2 } else { 0 };
    let raw = match config.qk_norm {
        outcrop_inference::QkNorm::None => 0,
        _ => query + kv,
    };
    let floats = (2 + after) * config.hidden_size
        + 2 * query
        + 2 * kv
        + config.heads
        + raw
        + 2 * config.intermediate_size;
    floats as u64
}

/// Floats of a pass's buffers for a token.
fn pass_floats(config: &DecoderConfig) -> u64 {
    let (query, kv) = (config.query_size(), config.kv_size());
    let floats = 7 * config.hidden_size + 2 * query + 2 * kv + 2 * config.intermediate_size;
    floats as u64
}
