//! What the `config.json` of each family of encoders says.

use serde_json::Value;

use super::config::{
    Activation, Biases, EncoderConfig, Fields, LayerAttention, NormOrder, Positions,
};
use crate::decoder_config::RopeScaling;

const ALL_BIASES: Biases = Biases {
    qkv: true,
    attention_output: true,
    up: true,
    down: true,
    norm: true,
};

/// BERT (arXiv:1810.04805).
pub(super) fn bert(fields: &Fields<'_>) -> Result<EncoderConfig, String> {
    let positions = fields.0["position_embedding_type"]
        .as_str()
        .unwrap_or("absolute");
    if positions != "absolute" {
        return Err(format!(
            "position_embedding_type: expected absolute, got {positions}"
        ));
    }
    let rows = fields.size("max_position_embeddings")?;
    Ok(EncoderConfig {
        architecture: architecture(fields),
        layers: vec![LayerAttention::default(); fields.size("num_hidden_layers")?],
        hidden: fields.size("hidden_size")?,
        intermediate: fields.size("intermediate_size")?,
        heads: fields.size("num_attention_heads")?,
        vocabulary: fields.size("vocab_size")?,
        context_length: rows,
        positions: Positions::Learned {
            rows,
            padding: None,
        },
        scaling: RopeScaling::None,
        types: fields.size("type_vocab_size")?,
        eps: fields.number_or("layer_norm_eps", 1e-12)? as f32,
        norm_order: NormOrder::Post,
        activation: fields.activation("hidden_act", "gelu")?,
        gated: false,
        biases: ALL_BIASES,
    })
}

/// RoBERTa (arXiv:1907.11692), XLM-RoBERTa, CamemBERT: BERT whose positions begin behind the id of
/// the padding token.
pub(super) fn roberta(fields: &Fields<'_>) -> Result<EncoderConfig, String> {
    let mut config = bert(fields)?;
    let padding = match &fields.0["pad_token_id"] {
        Value::Null => 1,
        value => value
            .as_u64()
            .and_then(|id| u32::try_from(id).ok())
            .ok_or_else(|| format!("pad_token_id: expected a token id, got {value}"))?,
    };
    let rows = config.context_length;
    config.positions = Positions::Learned {
        rows,
        padding: Some(padding),
    };
    config.context_length = rows
        .checked_sub(padding as usize + 1)
        .filter(|length| *length > 0)
        .ok_or_else(|| {
            format!(
                "max_position_embeddings: expected above pad_token_id + 1, {}, got {rows}",
                padding + 1
            )
        })?;
    Ok(config)
}

/// ModernBERT (arXiv:2412.13663).
pub(super) fn modernbert(fields: &Fields<'_>) -> Result<EncoderConfig, String> {
    let bias = |name| fields.flag_or(name, false);
    let mlp_bias = bias("mlp_bias")?;
    let attention_bias = bias("attention_bias")?;
    Ok(EncoderConfig {
        architecture: architecture(fields),
        layers: modernbert_layers(fields)?,
        hidden: fields.size("hidden_size")?,
        intermediate: fields.size("intermediate_size")?,
        heads: fields.size("num_attention_heads")?,
        vocabulary: fields.size("vocab_size")?,
        context_length: fields.size("max_position_embeddings")?,
        positions: Positions::Rotary,
        scaling: RopeScaling::None,
        types: 0,
        eps: fields.number_or("norm_eps", 1e-5)? as f32,
        norm_order: NormOrder::Pre,
        activation: fields.activation("hidden_activation", "gelu")?,
        gated: true,
        biases: Biases {
            qkv: attention_bias,
            attention_output: attention_bias,
            up: mlp_bias,
            down: mlp_bias,
            norm: bias("norm_bias")?,
        },
    })
}

/// Layers that see all tokens alternate with layers that see their neighbours, each kind with its
/// own base of rope: as `global_attn_every_n_layers` and two bases, or as transformers 5 writes it.
fn modernbert_layers(fields: &Fields<'_>) -> Result<Vec<LayerAttention>, String> {
    let count = fields.size("num_hidden_layers")?;
    let every = fields
        .number_or("global_attn_every_n_layers", 3.0)?
        .max(1.0) as usize;
    let kinds: Vec<bool> = match fields.0["layer_types"].as_array() {
        None => (0..count).map(|layer| layer % every != 0).collect(),
        Some(kinds) => kinds
            .iter()
            .map(|kind| match kind.as_str() {
                Some("sliding_attention") => Ok(true),
                Some("full_attention") => Ok(false),
                _ => Err(format!(
                    "layer_types: expected full_attention or sliding_attention, got {kind}"
                )),
            })
            .collect::<Result<_, _>>()?,
    };
    if kinds.len() != count {
        return Err(format!(
            "layer_types: expected one entry for each of {count} layers, got {}",
            kinds.len()
        ));
    }
    let theta = |kind: &str, older: &str, otherwise: f64| {
        let rope = &fields.0["rope_parameters"][kind];
        check_rope(rope)?;
        check_rope(&fields.0["rope_scaling"])?;
        match rope["rope_theta"].as_f64() {
            Some(theta) => Ok(theta),
            None => fields.number_or(older, otherwise),
        }
    };
    let global = theta("full_attention", "global_rope_theta", 160_000.0)?;
    let local = theta("sliding_attention", "local_rope_theta", 10_000.0)?;
    let window = fields.number_or("local_attention", 128.0)?.max(0.0) as usize / 2;
    Ok(kinds
        .into_iter()
        .map(|is_local| LayerAttention {
            theta: if is_local { local } else { global },
            window: is_local.then_some(window),
        })
        .collect())
}

/// Nomic's BERT (arXiv:2402.01613): in the layout of nomic-embed-text-v1.5, whose fields are named
/// as GPT-2's are, or of transformers 5.
pub(super) fn nomic_bert(fields: &Fields<'_>) -> Result<EncoderConfig, String> {
    for (name, expected) in [
        ("prenorm", false),
        ("use_rms_norm", false),
        ("rotary_emb_interleaved", false),
    ] {
        fields.expect_flag(name, expected)?;
    }
    if fields.number_or("rotary_emb_fraction", 1.0)? != 1.0 {
        return Err(format!(
            "rotary_emb_fraction: expected 1, got {}",
            fields.0["rotary_emb_fraction"]
        ));
    }
    if !fields.0["rotary_emb_scale_base"].is_null() {
        return Err(format!(
            "rotary_emb_scale_base: expected none, got {}",
            fields.0["rotary_emb_scale_base"]
        ));
    }
    let experts = fields.number_or("moe_every_n_layers", 0.0)?;
    if experts != 0.0 {
        return Err(format!(
            "moe_every_n_layers: expected 0 (no experts), got {experts}"
        ));
    }
    let activation = match fields.0["activation_function"].as_str() {
        None => fields.activation("hidden_act", "silu")?,
        Some("swiglu") => Activation::Silu,
        Some("geglu") => Activation::Gelu,
        Some(other) => {
            return Err(format!(
                "activation_function: expected swiglu or geglu, got {other}"
            ));
        }
    };
    let rope = &fields.0["rope_parameters"];
    check_rope(rope)?;
    let theta = match rope["rope_theta"].as_f64() {
        Some(theta) => theta,
        None => fields.number_or("rotary_emb_base", 1000.0)?,
    };
    let layer = LayerAttention {
        theta,
        window: None,
    };
    let bias = |name| fields.flag_or(name, false);
    let qkv_bias = bias("qkv_proj_bias")?;
    let hidden = fields.either_size(["n_embd", "hidden_size"])?;
    let context_length = fields.either_size(["n_positions", "max_position_embeddings"])?;
    let eps_name = match fields.0["layer_norm_epsilon"].is_null() {
        true => "layer_norm_eps",
        false => "layer_norm_epsilon",
    };
    Ok(EncoderConfig {
        architecture: architecture(fields),
        layers: vec![layer; fields.either_size(["n_layer", "num_hidden_layers"])?],
        hidden,
        intermediate: match fields.either_size(["n_inner", "intermediate_size"]) {
            Ok(size) => size,
            Err(_) if fields.0["n_inner"].is_null() => 4 * hidden,
            Err(wrong) => return Err(wrong),
        },
        heads: fields.either_size(["n_head", "num_attention_heads"])?,
        vocabulary: fields.size("vocab_size")?,
        context_length,
        positions: Positions::Rotary,
        scaling: nomic_scaling(fields, context_length)?,
        types: fields.0["type_vocab_size"].as_u64().unwrap_or(0).min(16) as usize,
        eps: fields.number_or(eps_name, 1e-12)? as f32,
        norm_order: NormOrder::Post,
        activation,
        gated: true,
        biases: Biases {
            qkv: qkv_bias,
            attention_output: qkv_bias,
            up: bias("mlp_fc1_bias")?,
            down: bias("mlp_fc2_bias")?,
            norm: true,
        },
    })
}

/// `rotary_scaling_factor`: the base of rope grows with inputs beyond `max_trained_positions`.
fn nomic_scaling(fields: &Fields<'_>, context_length: usize) -> Result<RopeScaling, String> {
    let factor = fields.number_or("rotary_scaling_factor", 0.0)?;
    if factor == 0.0 {
        return Ok(RopeScaling::None);
    }
    if !(factor > 0.0 && factor.is_finite()) {
        return Err(format!(
            "rotary_scaling_factor: expected above 0, got {factor}"
        ));
    }
    let original_context = match fields.0["max_trained_positions"].is_null() {
        true => context_length,
        false => fields.size("max_trained_positions")?,
    };
    Ok(RopeScaling::Dynamic {
        factor,
        original_context,
    })
}

/// Refuses rope whose frequencies are scaled.
fn check_rope(rope: &Value) -> Result<(), String> {
    let kind = rope["rope_type"].as_str().or_else(|| rope["type"].as_str());
    match kind {
        None | Some("default") => Ok(()),
        Some(other) => Err(format!("rope_type: expected default, got {other}")),
    }
}

fn architecture(fields: &Fields<'_>) -> String {
    let name = fields.0["model_type"].as_str().unwrap_or_default();
    name.to_owned()
}
