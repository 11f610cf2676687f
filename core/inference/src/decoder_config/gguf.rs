//! A decoder's description from GGUF metadata, by llama.cpp's names.

use std::collections::BTreeMap;

use super::family::{Experts, FAMILIES, Family, Windows};
use super::{
    DecoderConfig, ExpertsConfig, GatedActivation, RopeConfig, RopeScaling, Routing,
    unknown_architecture,
};
use crate::encoder::known_in_gguf;
use crate::weights::{GgufFields, GgufValue};

type Read<T> = Result<T, String>;

/// Metadata with the family whose name stands before its keys.
struct Metadata<'a> {
    fields: GgufFields<'a>,
    family: &'static Family,
}

/// Reads the description from `entries`. What only the tensors tell (ties, biases, divisors of
/// frequencies) is left to [`crate::decoder::Decoder::load`].
pub(super) fn read(entries: &BTreeMap<String, GgufValue>) -> Read<DecoderConfig> {
    let metadata = find(entries)?;
    let family = metadata.family;
    metadata.fields.expect_flag("attention.causal", true)?;
    let hidden_size = metadata.fields.size("embedding_length", None)?;
    let heads = metadata.fields.size("attention.head_count", None)?;
    let layers = metadata.fields.size("block_count", None)?;
    let head_dim = metadata
        .fields
        .size("attention.key_length", Some(hidden_size / heads))?;
    let value_dim = metadata
        .fields
        .size("attention.value_length", Some(head_dim))?;
    if value_dim != head_dim {
        return Err(format!(
            "{}.attention.value_length: expected {head_dim}, as attention.key_length, got {value_dim}",
            family.gguf
        ));
    }
    let experts = experts(&metadata, layers)?;
    let sliding_windows = windows(&metadata, layers)?;
    let (ropes, layer_ropes) = ropes(&metadata, head_dim, &sliding_windows)?;
    let is_gpt_oss = family.experts == Experts::GptOss;
    let multiplier = |name| -> Read<f32> { Ok(metadata.fields.number(name, Some(1.0))? as f32) };
    let width = metadata.attention_width(layers, head_dim, hidden_size / heads);
    let attention_scale = metadata
        .fields
        .number("attention.scale", Some(1.0 / width.sqrt()))?;
    Ok(DecoderConfig {
        architecture: family.name.to_owned(),
        hidden_size,
        intermediate_size: match &experts {
            Some(experts) => metadata
                .fields
                .size("feed_forward_length", Some(experts.intermediate_size))?,
            None => metadata.fields.size("feed_forward_length", None)?,
        },
        heads,
        kv_heads: metadata
            .fields
            .size("attention.head_count_kv", Some(heads))?,
        head_dim,
        vocab_size: vocab_size(&metadata)?,
        context_length: metadata.fields.size("context_length", None)?,
        norm_eps: metadata
            .fields
            .number("attention.layer_norm_rms_epsilon", None)? as f32,
        norm_offset: 0.0,
        norms: family.norms,
        ropes,
        layer_ropes,
        qk_norm: family.qk_norm,
        qkv_bias: family.qkv_bias,
        output_bias: false,
        mlp_bias: false,
        activation: match () {
            () if is_gpt_oss => GatedActivation::ClampedSwiglu {
                alpha: 1.702,
                limit: 7.0,
            },
            () if family.scales_embedding => GatedActivation::GeluTanh,
            () => GatedActivation::Silu,
        },
        experts,
        tied_embeddings: false,
        embedding_multiplier: match family.scales_embedding {
            true => (hidden_size as f32).sqrt(),
            false => multiplier("embedding_scale")?,
        },
        residual_multiplier: multiplier("residual_scale")?,
        logits_multiplier: 1.0 / multiplier("logit_scale")?,
        logits_soft_cap: metadata.cap("final_logit_softcapping")?,
        attention_scale: attention_scale as f32,
        attention_soft_cap: metadata.cap("attn_logit_softcapping")?,
        attention_sinks: is_gpt_oss,
        sliding_windows,
    })
}

/// The metadata with the family that they name.
fn find(entries: &BTreeMap<String, GgufValue>) -> Read<Metadata<'_>> {
    let name = match entries.get("general.architecture") {
        Some(GgufValue::String(name)) => name.as_str(),
        other => {
            let found = other.map_or_else(|| "nothing".to_owned(), ToString::to_string);
            return Err(unknown_architecture("general.architecture", &found));
        }
    };
    let mut families = FAMILIES.iter().filter(|family| family.gguf == name);
    let Some(first) = families.next() else {
        let decoders = unknown_architecture("general.architecture", name);
        return Err(format!("{decoders}; encoders are {}", known_in_gguf()));
    };
    let metadata = |family: &'static Family| Metadata {
        fields: GgufFields {
            entries,
            architecture: family.gguf,
        },
        family,
    };
    // llama.cpp has one name for Llama and Mixtral.
    match families.next() {
        Some(mixture) if metadata(first).fields.count("expert_count")? > 0 => Ok(metadata(mixture)),
        _ => Ok(metadata(first)),
    }
}

/// The vocabulary: `vocab_size`, else the number of the tokenizer's tokens.
fn vocab_size(metadata: &Metadata<'_>) -> Read<usize> {
    metadata.fields.size("vocab_size", metadata.fields.tokens())
}

fn experts(metadata: &Metadata<'_>, layers: usize) -> Read<Option<ExpertsConfig>> {
    let kind = metadata.family.experts;
    let count = metadata.fields.count("expert_count")?;
    if kind == Experts::None {
        return match count {
            0 => Ok(None),
            _ => Err(format!(
                "{}.expert_count: expected 0, got {count}",
                metadata.family.gguf
            )),
        };
    }
    // llama.cpp's numbers: 0 is none stated, 1 softmax over all, 3 softmax over the chosen.
    let gating = metadata.fields.count("expert_gating_func")?;
    if !matches!(gating, 0 | 1 | 3) {
        return Err(format!(
            "{}.expert_gating_func: expected 1 or 3, softmax, got {gating}",
            metadata.family.gguf
        ));
    }
    let shared = metadata.fields.count("expert_shared_count")?;
    if shared > 0 {
        return Err(format!(
            "{}.expert_shared_count: expected 0, got {shared}",
            metadata.family.gguf
        ));
    }
    let whole = match kind {
        Experts::Mixtral => Some(metadata.fields.size("feed_forward_length", None)?),
        _ => None,
    };
    Ok(Some(ExpertsConfig {
        count,
        per_token: metadata.fields.size("expert_used_count", None)?,
        intermediate_size: match whole {
            Some(width) => width,
            None => metadata.fields.size("expert_feed_forward_length", None)?,
        },
        // llama.cpp always brings the parts of Qwen's chosen experts to a sum of 1.
        routing: Routing::SoftmaxOfChosen,
        router_bias: kind == Experts::GptOss,
        layers: vec![true; layers],
    }))
}

/// Each layer's window: as llama.cpp's graphs have them, which know a pattern for each family.
fn windows(metadata: &Metadata<'_>, layers: usize) -> Read<Vec<Option<usize>>> {
    let Windows::AllBut(every) = metadata.family.windows else {
        return Ok(vec![None; layers]);
    };
    let default = metadata
        .family
        .default("sliding_window")
        .map(|n| n as usize);
    let window = metadata.fields.size("attention.sliding_window", default)?;
    let has_window = |n: usize| !n.is_multiple_of(every);
    Ok((1..=layers)
        .map(|n| has_window(n).then_some(window))
        .collect())
}

/// The rotary embeddings, and which of them each layer has.
fn ropes(
    metadata: &Metadata<'_>,
    head_dim: usize,
    windows: &[Option<usize>],
) -> Read<(Vec<RopeConfig>, Vec<Option<usize>>)> {
    let family = metadata.family;
    let (scaling, attention_factor) = scaling(metadata)?;
    let main = RopeConfig {
        theta: metadata.fields.number("rope.freq_base", Some(10_000.0))?,
        dimensions: metadata
            .fields
            .size("rope.dimension_count", Some(head_dim))?,
        order: family.gguf_order,
        scaling,
        attention_factor: attention_factor as f32,
    };
    if family.name == "gemma3_text" {
        let local = RopeConfig {
            theta: metadata
                .fields
                .number("rope.freq_base_swa", Some(10_000.0))?,
            scaling: RopeScaling::None,
            ..main
        };
        let layers = windows
            .iter()
            .map(|window| Some(usize::from(window.is_some())));
        return Ok((vec![main, local], layers.collect()));
    }
    let step = family.default("no_rope_layer_interval").map(|n| n as usize);
    let has_rope = |n: usize| step.is_none_or(|step| !n.is_multiple_of(step));
    let layers = (1..=windows.len()).map(|n| has_rope(n).then_some(0));
    Ok((vec![main], layers.collect()))
}

/// The scaling with the attention factor. Llama 3's and LongRoPE's come as tensors of divisors.
fn scaling(metadata: &Metadata<'_>) -> Read<(RopeScaling, f64)> {
    let attention_factor = metadata
        .fields
        .number("rope.scaling.attn_factor", Some(1.0))?;
    let kind = match metadata.fields.get("rope.scaling.type") {
        None => match metadata.fields.get("rope.scale_linear") {
            None => "none",
            Some(_) => "linear",
        },
        Some(GgufValue::String(kind)) => kind,
        Some(_) => "",
    };
    let factor = match metadata.fields.get("rope.scaling.factor") {
        None => metadata.fields.number("rope.scale_linear", Some(1.0))?,
        Some(_) => metadata.fields.number("rope.scaling.factor", None)?,
    };
    // A factor of 0 says that there is none.
    let factor = if factor == 0.0 { 1.0 } else { factor };
    match kind {
        "none" | "longrope" => Ok((RopeScaling::None, attention_factor)),
        "linear" => Ok((RopeScaling::Linear { factor }, attention_factor)),
        "yarn" => {
            let context = metadata.fields.size("context_length", None)?;
            let original = metadata
                .fields
                .size("rope.scaling.original_context_length", Some(context))?;
            let scaling = RopeScaling::Yarn {
                factor,
                beta_fast: metadata
                    .fields
                    .number("rope.scaling.yarn_beta_fast", Some(32.0))?,
                beta_slow: metadata
                    .fields
                    .number("rope.scaling.yarn_beta_slow", Some(1.0))?,
                original_context: original as f64,
                truncate: true,
            };
            Ok((scaling, attention_factor * (1.0 + 0.1 * factor.ln())))
        }
        _ => Err(format!(
            "{}.rope.scaling.type: expected none, linear, yarn or longrope, got {}",
            metadata.family.gguf,
            metadata
                .fields
                .get("rope.scaling.type")
                .map_or_else(String::new, ToString::to_string)
        )),
    }
}

impl Metadata<'_> {
    /// The bound of Gemma's soft caps; a family that has none has no default.
    fn cap(&self, name: &str) -> Read<Option<f32>> {
        match (self.fields.get(name), self.family.default(name)) {
            (None, default) => Ok(default.map(|cap| cap as f32)),
            (Some(_), _) => Ok(Some(self.fields.number(name, None)? as f32)),
        }
    }

    /// The width whose root divides attention's scores: that of a head, but in Gemma's 27B models,
    /// which llama.cpp knows by their layers, of `hidden_size / heads`.
    fn attention_width(&self, layers: usize, head_dim: usize, part: usize) -> f64 {
        let is_27b = matches!(
            (self.family.name, layers),
            ("gemma2", 46) | ("gemma3_text", 62)
        );
        if is_27b { part as f64 } else { head_dim as f64 }
    }
}
