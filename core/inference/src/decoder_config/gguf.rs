//! A decoder's description from GGUF metadata, by llama.cpp's names.

use std::collections::BTreeMap;

use super::{
    DecoderConfig, MAX_DIMENSION, RopeConfig, RopeOrder, RopeScaling, checked_scaling,
    unknown_architecture,
};
use crate::weights::GgufValue;

type Read<T> = Result<T, String>;

/// Metadata with the architecture's prefix.
struct Metadata<'a> {
    entries: &'a BTreeMap<String, GgufValue>,
    prefix: &'a str,
}

/// Reads the description from `entries`. What only the tensors tell (ties, vocabulary where the
/// metadata have none) is left to [`crate::decoder::Decoder::load`].
pub(super) fn read(entries: &BTreeMap<String, GgufValue>) -> Read<DecoderConfig> {
    let architecture = match entries.get("general.architecture") {
        Some(GgufValue::String(name)) => name.as_str(),
        other => {
            let found = other.map_or_else(|| "nothing".to_owned(), ToString::to_string);
            return Err(unknown_architecture("general.architecture", &found));
        }
    };
    let (order, qkv_bias, qk_norm) = match architecture {
        "llama" => (RopeOrder::Interleaved, false, false),
        "qwen2" => (RopeOrder::Halves, true, false),
        "qwen3" => (RopeOrder::Halves, false, true),
        other => return Err(unknown_architecture("general.architecture", other)),
    };
    let metadata = Metadata {
        entries,
        prefix: architecture,
    };
    let hidden_size = metadata.size("embedding_length", None)?;
    let heads = metadata.size("attention.head_count", None)?;
    let layers = metadata.size("block_count", None)?;
    let head_dim = metadata.size("attention.key_length", Some(hidden_size / heads))?;
    let value_dim = metadata.size("attention.value_length", Some(head_dim))?;
    if value_dim != head_dim {
        return Err(format!(
            "{architecture}.attention.value_length: expected {head_dim}, as attention.key_length, got {value_dim}"
        ));
    }
    if metadata.size("expert_count", Some(0))? != 0 {
        return Err(format!(
            "{architecture}.expert_count: expected 0, got a mixture of experts"
        ));
    }
    Ok(DecoderConfig {
        architecture: architecture.to_owned(),
        hidden_size,
        intermediate_size: metadata.size("feed_forward_length", None)?,
        heads,
        kv_heads: metadata.size("attention.head_count_kv", Some(heads))?,
        head_dim,
        vocab_size: vocab_size(&metadata)?,
        context_length: metadata.size("context_length", None)?,
        norm_eps: metadata.number("attention.layer_norm_rms_epsilon", None)? as f32,
        rope: RopeConfig {
            theta: metadata.number("rope.freq_base", Some(10_000.0))?,
            dimensions: metadata.size("rope.dimension_count", Some(head_dim))?,
            order,
            scaling: scaling(&metadata)?,
        },
        qk_norm,
        qkv_bias,
        output_bias: false,
        mlp_bias: false,
        tied_embeddings: false,
        attention_scale: 1.0 / (head_dim as f32).sqrt(),
        sliding_windows: vec![None; layers],
    })
}

/// The vocabulary: `vocab_size`, else the number of the tokenizer's tokens.
fn vocab_size(metadata: &Metadata<'_>) -> Read<usize> {
    let tokens = metadata.entries.get("tokenizer.ggml.tokens");
    let tokens = tokens.and_then(GgufValue::as_strings).map(<[String]>::len);
    metadata.size("vocab_size", tokens)
}

/// Linear scaling, or none; Llama 3's comes as a tensor of divisors, `rope_freqs.weight`.
fn scaling(metadata: &Metadata<'_>) -> Read<RopeScaling> {
    let scaling = match metadata.get("rope.scaling.type") {
        None => match metadata.get("rope.scale_linear") {
            None => RopeScaling::None,
            Some(_) => RopeScaling::Linear {
                factor: metadata.number("rope.scale_linear", None)?,
            },
        },
        Some(GgufValue::String(kind)) if kind == "none" => RopeScaling::None,
        Some(GgufValue::String(kind)) if kind == "linear" => RopeScaling::Linear {
            factor: metadata.number("rope.scaling.factor", None)?,
        },
        Some(other) => {
            return Err(format!(
                "{}.rope.scaling.type: expected none or linear, got {other}",
                metadata.prefix
            ));
        }
    };
    checked_scaling(scaling)
}

impl Metadata<'_> {
    /// The entry `name` of the architecture.
    fn get(&self, name: &str) -> Option<&GgufValue> {
        self.entries.get(&format!("{}.{name}", self.prefix))
    }

    /// The entry `name` as a whole number.
    fn size(&self, name: &str, default: Option<usize>) -> Read<usize> {
        let prefix = self.prefix;
        match self.get(name) {
            None => default.ok_or_else(|| format!("{prefix}.{name}: expected a whole number, got nothing")),
            Some(value) => value
                .as_u64()
                .and_then(|n| usize::try_from(n).ok())
                .filter(|n| *n <= MAX_DIMENSION && (*n > 0 || name == "expert_count"))
                .ok_or_else(|| {
                    format!("{prefix}.{name}: expected a whole number in 1..={MAX_DIMENSION}, got {value}")
                }),
        }
    }

    /// The entry `name` as a number.
    fn number(&self, name: &str, default: Option<f64>) -> Read<f64> {
        let prefix = self.prefix;
        match self.get(name) {
            None => {
                default.ok_or_else(|| format!("{prefix}.{name}: expected a number, got nothing"))
            }
            Some(GgufValue::Float(value)) => Ok(*value),
            Some(other) => Err(format!("{prefix}.{name}: expected a number, got {other}")),
        }
    }
}
