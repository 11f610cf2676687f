//! An encoder's description from GGUF metadata, by llama.cpp's names.

use std::collections::BTreeMap;

use super::config::{
    Activation, Biases, EncoderConfig, LayerAttention, NormOrder, Positions, activation,
};
use crate::decoder_config::RopeScaling;
use crate::weights::{Checkpoint, GgufFields, GgufValue};

/// llama.cpp's names of encoders, with transformers'.
const NAMES: [(&str, &str); 3] = [
    ("bert", "bert"),
    ("nomic-bert", "nomic_bert"),
    ("modern-bert", "modernbert"),
];

/// Whether the metadata are of a file that holds an encoder.
pub(crate) fn is_gguf_encoder(metadata: &BTreeMap<String, GgufValue>) -> bool {
    name(metadata).is_some()
}

/// llama.cpp's names of encoders.
pub(crate) fn known() -> String {
    NAMES.map(|(name, _)| name).join(", ")
}

/// llama.cpp's name of the encoder, with transformers'.
fn name(metadata: &BTreeMap<String, GgufValue>) -> Option<(&'static str, &'static str)> {
    let name = metadata.get("general.architecture")?.as_str()?;
    NAMES.into_iter().find(|(own, _)| *own == name)
}

/// Reads the description of the encoder in `checkpoint`, a GGUF file with these `metadata`. Which
/// products have a bias is told by the tensors.
pub(super) fn read(
    metadata: &BTreeMap<String, GgufValue>,
    checkpoint: &Checkpoint,
) -> Result<EncoderConfig, String> {
    let Some((architecture, family)) = name(metadata) else {
        return Err(format!("general.architecture: expected one of {}", known()));
    };
    let fields = GgufFields {
        entries: metadata,
        architecture,
    };
    fields.expect_flag("attention.causal", false)?;
    let context_length = fields.size("context_length", None)?;
    let layers = fields.size("block_count", None)?;
    let is_bert = family == "bert";
    let eps = if family == "modernbert" { 1e-5 } else { 1e-12 };
    let has_bias = |name: &str| checkpoint.contains(&format!("{name}.bias"));
    Ok(EncoderConfig {
        architecture: family.to_owned(),
        layers: match family {
            "modernbert" => modern_layers(&fields, layers)?,
            "nomic_bert" => vec![rotary(fields.number("rope.freq_base", Some(1000.0))?); layers],
            _ => vec![LayerAttention::default(); layers],
        },
        hidden: fields.size("embedding_length", None)?,
        intermediate: fields.size("feed_forward_length", None)?,
        heads: fields.size("attention.head_count", None)?,
        vocabulary: fields.size("vocab_size", fields.tokens())?,
        context_length,
        positions: match is_bert {
            // The converter cuts off the rows that RoBERTa's positions begin behind.
            true => Positions::Learned {
                rows: context_length,
                padding: None,
            },
            false => Positions::Rotary,
        },
        scaling: RopeScaling::None,
        types: checkpoint
            .shape("token_types.weight")
            .and_then(|shape| shape.first().copied())
            .unwrap_or(0),
        eps: fields.number("attention.layer_norm_epsilon", Some(eps))? as f32,
        norm_order: match family {
            "modernbert" => NormOrder::Pre,
            _ => NormOrder::Post,
        },
        activation: match family {
            "bert" => Activation::Gelu,
            "nomic_bert" => Activation::Silu,
            _ => hidden_activation(&fields)?,
        },
        gated: !is_bert,
        biases: Biases {
            qkv: has_bias("blk.0.attn_qkv") || has_bias("blk.0.attn_q"),
            attention_output: has_bias("blk.0.attn_output"),
            up: has_bias("blk.0.ffn_up"),
            down: has_bias("blk.0.ffn_down"),
            norm: has_bias("blk.0.layer_output_norm") || has_bias("blk.0.ffn_norm"),
        },
    })
}

/// ModernBERT's layers: each first of `sliding_window_pattern` sees all tokens, the others their
/// neighbours, with a base of rope of their own.
fn modern_layers(fields: &GgufFields<'_>, count: usize) -> Result<Vec<LayerAttention>, String> {
    let global = fields.number("rope.freq_base", Some(160_000.0))?;
    let local = fields.number("rope.freq_base_swa", Some(10_000.0))?;
    let window = fields.size("attention.sliding_window", Some(128))? / 2;
    let every = fields.size("attention.sliding_window_pattern", Some(3))?;
    Ok((0..count)
        .map(|layer| match layer.is_multiple_of(every) {
            true => rotary(global),
            false => LayerAttention {
                window: Some(window),
                ..rotary(local)
            },
        })
        .collect())
}

fn rotary(theta: f64) -> LayerAttention {
    LayerAttention {
        theta,
        window: None,
    }
}

fn hidden_activation(fields: &GgufFields<'_>) -> Result<Activation, String> {
    let Some(value) = fields.get("hidden_activation") else {
        return Ok(Activation::Gelu);
    };
    let known = value.as_str().and_then(activation);
    known.ok_or_else(|| {
        let key = fields.key("hidden_activation");
        format!("{key}: expected an activation such as gelu or silu, got {value}")
    })
}
