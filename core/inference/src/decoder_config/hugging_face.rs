//! A decoder's description from Hugging Face's `config.json`.
//!
//! Both layouts are read: the hub's older one (`rope_theta`, `rope_scaling`) and that of
//! transformers 5 (`rope_parameters`). Defaults are those of the architecture's configuration
//! class in transformers. What a field asks for and the forward pass cannot do is refused.

use serde_json::Value;

use super::family::{Experts, Family};
use super::fields::{Fields, Read, present, shown};
use super::{
    DecoderConfig, ExpertsConfig, GatedActivation, MAX_DIMENSION, RopeConfig, RopeScaling, Routing,
    unknown_architecture,
};

/// Reads the description from `whole`, a model's `config.json`.
pub(super) fn read(whole: &Value) -> Read<DecoderConfig> {
    let fields = find(whole)?;
    let family = fields.family;
    refuse(whole, &fields)?;
    let hidden_size = fields.size("hidden_size")?;
    let heads = fields.size("num_attention_heads")?;
    let layers = fields.size("num_hidden_layers")?;
    let head_dim = fields.size_or("head_dim", hidden_size / heads)?;
    let context = fields.size("max_position_embeddings")?;
    let (layer_ropes, has_rope) = layer_ropes(&fields, layers)?;
    let sliding_windows = fields.windows(&has_rope)?;
    let (ropes, layer_ropes) = fields.ropes(head_dim, layer_ropes, &sliding_windows)?;
    let is_gpt_oss = family.experts == Experts::GptOss;
    let attention_bias = family.bias_fields && fields.flag("attention_bias", is_gpt_oss)?;
    let attention_scale = match fields.number("attention_multiplier")? {
        Some(scale) => scale,
        None => {
            let width = fields.number("query_pre_attn_scalar")?;
            1.0 / width.unwrap_or(head_dim as f64).sqrt()
        }
    };
    let multiplier = |name| -> Read<f32> { Ok(fields.number(name)?.unwrap_or(1.0) as f32) };
    let cap = |name| -> Read<Option<f32>> { Ok(fields.number(name)?.map(|cap| cap as f32)) };
    let tied = fields.flag("tie_word_embeddings", family.tied)?;
    Ok(DecoderConfig {
        architecture: family.name.to_owned(),
        hidden_size,
        intermediate_size: fields.size("intermediate_size")?,
        heads,
        kv_heads: fields.size_or("num_key_value_heads", heads)?,
        head_dim,
        vocab_size: fields.size("vocab_size")?,
        context_length: scaled_context(context, &ropes),
        norm_eps: fields.number("rms_norm_eps")?.unwrap_or(1e-6) as f32,
        norm_offset: family.norm_offset,
        norms: family.norms,
        ropes,
        layer_ropes,
        qk_norm: family.qk_norm,
        qkv_bias: family.qkv_bias || attention_bias,
        output_bias: attention_bias,
        mlp_bias: is_gpt_oss || family.bias_fields && fields.flag("mlp_bias", false)?,
        activation: activation(&fields)?,
        experts: experts(&fields, layers)?,
        // Of a model with more parts than text, the whole's field counts.
        tied_embeddings: Fields::of(family, whole).flag("tie_word_embeddings", tied)?,
        embedding_multiplier: match family.scales_embedding {
            true => (hidden_size as f32).sqrt(),
            false => multiplier("embedding_multiplier")?,
        },
        residual_multiplier: multiplier("residual_multiplier")?,
        logits_multiplier: 1.0 / multiplier("logits_scaling")?,
        logits_soft_cap: cap("final_logit_softcapping")?,
        attention_scale: attention_scale as f32,
        attention_soft_cap: cap("attn_logit_softcapping")?,
        attention_sinks: is_gpt_oss,
        sliding_windows,
    })
}

/// The fields of the decoder in `whole`, with its family.
fn find(whole: &Value) -> Read<Fields<'_>> {
    let name = match whole.get("model_type") {
        Some(Value::String(name)) => name.as_str(),
        other => return Err(unknown_architecture("model_type", &shown(other))),
    };
    let (name, config) = match (name, whole.get("text_config")) {
        // The text part of a model that reads images too.
        ("gemma3", Some(text)) => ("gemma3_text", text),
        _ => (name, whole),
    };
    match Family::of_model_type(name) {
        Some(family) => Ok(Fields::of(family, config)),
        None => Err(unknown_architecture("model_type", name)),
    }
}

/// Refuses what fields ask for and the forward pass cannot do.
fn refuse(whole: &Value, fields: &Fields<'_>) -> Read<()> {
    if fields.flag("use_bidirectional_attention", false)? {
        return Err("use_bidirectional_attention: expected false, got true".to_owned());
    }
    if let Some(clip) = fields.number("clip_qkv")? {
        return Err(format!("clip_qkv: expected null, got {clip}"));
    }
    let Some(quantisation) = present(whole, "quantization_config") else {
        return Ok(());
    };
    match quantisation.get("quant_method").and_then(Value::as_str) {
        Some("mxfp4") if fields.family.experts == Experts::GptOss => Ok(()),
        _ => Err(format!(
            "quantization_config.quant_method: expected weights in F32, F16 or BF16 (of gpt_oss in mxfp4 too), got {}",
            shown(quantisation.get("quant_method"))
        )),
    }
}

/// The positions that a model takes: more than its context where scaling is meant to extend it.
fn scaled_context(context: usize, ropes: &[RopeConfig]) -> usize {
    let extended = ropes.iter().map(|rope| match rope.scaling {
        RopeScaling::Dynamic {
            factor,
            original_context,
        } => (factor * original_context as f64) as usize,
        RopeScaling::Yarn {
            factor,
            original_context,
            ..
        } => (factor * original_context) as usize,
        _ => context,
    });
    extended.max().unwrap_or(context).max(context)
}

/// Which layers turn queries and keys: not those that `no_rope_layers` marks with 0.
fn layer_ropes(fields: &Fields<'_>, layers: usize) -> Read<(Vec<Option<usize>>, Vec<bool>)> {
    if layers > MAX_DIMENSION {
        return Err(format!(
            "num_hidden_layers: expected 1..={MAX_DIMENSION}, got {layers}"
        ));
    }
    let interval = fields.number("no_rope_layer_interval")?;
    let has_rope: Vec<bool> = match (present(fields.config, "no_rope_layers"), interval) {
        (Some(_), _) => {
            let marks = fields.numbers("no_rope_layers")?;
            if marks.len() != layers {
                return Err(format!(
                    "no_rope_layers: expected {layers} marks, one a layer, got {}",
                    marks.len()
                ));
            }
            marks.iter().map(|mark| *mark != 0.0).collect()
        }
        (None, Some(interval)) if interval >= 1.0 => (1..=layers)
            .map(|n| !n.is_multiple_of(interval as usize))
            .collect(),
        _ => vec![true; layers],
    };
    let ropes = has_rope.iter().map(|has| has.then_some(0)).collect();
    Ok((ropes, has_rope))
}

fn activation(fields: &Fields<'_>) -> Read<GatedActivation> {
    if fields.family.experts == Experts::GptOss {
        let number = |name| -> Read<f32> { Ok(fields.number(name)?.unwrap_or(0.0) as f32) };
        return Ok(GatedActivation::ClampedSwiglu {
            alpha: number("swiglu_alpha")?,
            limit: number("swiglu_limit")?,
        });
    }
    // Gemma's second field overrides its first, which older files have.
    let field = match fields.family.scales_embedding {
        true => present(fields.config, "hidden_activation"),
        false => present(fields.config, "hidden_act"),
    };
    match field.map(Value::as_str) {
        None if fields.family.scales_embedding => Ok(GatedActivation::GeluTanh),
        None | Some(Some("silu" | "swish")) => Ok(GatedActivation::Silu),
        Some(Some("gelu_pytorch_tanh" | "gelu_new")) => Ok(GatedActivation::GeluTanh),
        Some(Some("gelu")) => Ok(GatedActivation::Gelu),
        _ => Err(format!(
            "hidden_act: expected silu, gelu, gelu_new or gelu_pytorch_tanh, got {}",
            shown(field)
        )),
    }
}

fn experts(fields: &Fields<'_>, layers: usize) -> Read<Option<ExpertsConfig>> {
    let (count, width) = match fields.family.experts {
        Experts::None => return Ok(None),
        Experts::Mixtral | Experts::GptOss => ("num_local_experts", "intermediate_size"),
        Experts::Qwen3Moe => ("num_experts", "moe_intermediate_size"),
    };
    let is_qwen = fields.family.experts == Experts::Qwen3Moe;
    let step = match is_qwen {
        true => fields.size_or("decoder_sparse_step", 1)?,
        false => 1,
    };
    let dense: Vec<f64> = match present(fields.config, "mlp_only_layers") {
        Some(_) if is_qwen => fields.numbers("mlp_only_layers")?,
        _ => Vec::new(),
    };
    let has_experts =
        |layer: usize| (layer + 1).is_multiple_of(step) && !dense.contains(&(layer as f64));
    let keeps_parts = is_qwen && !fields.flag("norm_topk_prob", false)?;
    Ok(Some(ExpertsConfig {
        count: fields.size(count)?,
        per_token: fields.size("num_experts_per_tok")?,
        intermediate_size: fields.size(width)?,
        routing: match keeps_parts {
            true => Routing::Softmax,
            false => Routing::SoftmaxOfChosen,
        },
        router_bias: fields.family.experts == Experts::GptOss,
        layers: (0..layers).map(has_experts).collect(),
    }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;
    use crate::decoder_config::{ARCHITECTURES, QkNorm};

    fn llama() -> Value {
        json!({
            "model_type": "llama", "hidden_size": 64, "intermediate_size": 160,
            "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2,
            "max_position_embeddings": 2048, "vocab_size": 544, "rms_norm_eps": 1e-5,
        })
    }

    fn with(mut config: Value, fields: Value) -> Value {
        for (name, value) in fields.as_object().unwrap() {
            config[name] = value.clone();
        }
        config
    }

    #[test]
    fn both_layouts_of_rope_read_the_same() {
        let scaling = json!({
            "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
            "high_freq_factor": 4.0, "original_max_position_embeddings": 128,
        });
        let older = with(llama(), json!({"rope_theta": 5e5, "rope_scaling": scaling}));
        let newer = with(
            llama(),
            json!({"rope_parameters": with(scaling, json!({"rope_theta": 5e5})), "dtype": "bfloat16"}),
        );
        let read_older = read(&older).unwrap();
        assert_eq!(read_older, read(&newer).unwrap());
        assert_eq!(read_older.ropes[0].theta, 5e5);
        assert_eq!(read_older.head_dim, 16);
        assert!(
            matches!(read_older.ropes[0].scaling, RopeScaling::Llama3 { factor, .. } if factor == 8.0)
        );
    }

    #[test]
    fn an_unknown_architecture_is_named_with_what_is_known() {
        let error = read(&with(llama(), json!({"model_type": "mamba"}))).unwrap_err();
        assert_eq!(
            error,
            format!(
                "model_type: expected one of {}, got \"mamba\"",
                ARCHITECTURES.join(", ")
            )
        );
    }

    #[test]
    fn wrong_fields_are_named_with_their_values() {
        for (fields, expected) in [
            (
                json!({"hidden_size": "x"}),
                "hidden_size: expected a whole number in 1..=16777216, got \"x\"",
            ),
            (
                json!({"num_attention_heads": 0}),
                "num_attention_heads: expected a whole number in 1..=16777216, got 0",
            ),
            (
                json!({"hidden_act": "relu"}),
                "hidden_act: expected silu, gelu, gelu_new or gelu_pytorch_tanh, got \"relu\"",
            ),
            (
                json!({"rope_scaling": {"rope_type": "ntk", "factor": 4.0}}),
                "rope_scaling.rope_type: expected one of default, linear, dynamic, llama3, yarn, longrope, got \"ntk\"",
            ),
            (
                json!({"rope_scaling": {"type": "linear", "factor": -4.0}}),
                "rope_scaling.factor: expected above 0, got -4",
            ),
        ] {
            let read =
                read(&with(llama(), fields)).and_then(|config| config.check().map(|()| config));
            assert_eq!(read.unwrap_err(), expected);
        }
    }

    #[test]
    fn qwen_windows_start_at_max_window_layers() {
        let fields = json!({
            "model_type": "qwen3", "use_sliding_window": true, "sliding_window": 32, "max_window_layers": 1,
        });
        let config = read(&with(llama(), fields)).unwrap();
        assert_eq!(config.sliding_windows, [None, Some(32), Some(32)]);
        assert_eq!(config.qk_norm, QkNorm::Heads);
    }

    /// Fields of a small model of `model_type`.
    fn model(model_type: &str, fields: Value) -> Value {
        with(with(llama(), json!({"model_type": model_type})), fields)
    }

    #[test]
    fn windows_of_each_family_are_as_in_transformers() {
        let window = json!({"sliding_window": 8});
        for (name, fields, expected) in [
            ("llama", window.clone(), [None, None, None]),
            ("mistral", window.clone(), [Some(8); 3]),
            ("mistral", json!({}), [Some(4096); 3]),
            ("mistral", json!({"sliding_window": null}), [None; 3]),
            ("gemma2", window.clone(), [Some(8), None, Some(8)]),
            (
                "gpt_oss",
                json!({"num_local_experts": 4}),
                [Some(128), None, Some(128)],
            ),
            (
                "smollm3",
                json!({"sliding_window": 8, "use_sliding_window": true, "no_rope_layers": [1, 0, 1]}),
                [None, Some(8), None],
            ),
            (
                "qwen3",
                json!({"sliding_window": 8, "use_sliding_window": true,
                    "layer_types": ["sliding_attention", "full_attention", "full_attention"]}),
                [Some(8), None, None],
            ),
        ] {
            let read = read(&model(name, fields)).unwrap();
            assert_eq!(read.sliding_windows, expected, "{name}");
        }
    }

    #[test]
    fn what_the_forward_pass_cannot_do_is_refused() {
        for (fields, expected) in [
            (
                json!({"model_type": "gemma3_text", "use_bidirectional_attention": true}),
                "use_bidirectional_attention: expected false, got true",
            ),
            (
                json!({"quantization_config": {"quant_method": "gptq"}}),
                "quantization_config.quant_method: expected weights in F32, F16 or BF16 (of gpt_oss in mxfp4 too), got \"gptq\"",
            ),
            (
                json!({"layer_types": ["sliding_attention", "full_attention", "full_attention"]}),
                "layer_types: expected full_attention, or sliding_attention with a sliding_window in use, got \"sliding_attention\"",
            ),
            (
                json!({"model_type": "qwen3_moe", "num_experts": 4, "num_experts_per_tok": 5}),
                "num_experts_per_tok: expected 1..=4, got 5",
            ),
            (
                json!({"rope_scaling": {"type": "longrope", "short_factor": [1], "long_factor": [1]}}),
                "rope_scaling.short_factor: expected 8 numbers, one a pair, got 1",
            ),
            (
                json!({"model_type": "gemma2", "attn_logit_softcapping": 0.0}),
                "attn_logit_softcapping: expected above 0, got 0",
            ),
        ] {
            let read = read(&with(llama(), fields)).and_then(|config| config.check());
            assert_eq!(read.unwrap_err(), expected);
        }
    }

    #[test]
    fn scalings_that_extend_the_context_say_so() {
        for (scaling, expected) in [
            (json!({"rope_type": "dynamic", "factor": 2.0}), 4096),
            (
                json!({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 2048}),
                8192,
            ),
            (json!({"rope_type": "linear", "factor": 4.0}), 2048),
        ] {
            let read = read(&with(llama(), json!({"rope_scaling": scaling}))).unwrap();
            assert_eq!(read.context_length, expected, "{:?}", read.ropes);
        }
    }
}
