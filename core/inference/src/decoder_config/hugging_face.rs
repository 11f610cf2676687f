//! A decoder's description from Hugging Face's `config.json`.
//!
//! Both layouts are read: the hub's older one (`rope_theta`, `rope_scaling`) and that of
//! transformers 5 (`rope_parameters`). Defaults are those of the architecture's configuration
//! class in transformers.

use serde_json::Value;

use super::{
    DecoderConfig, MAX_DIMENSION, RopeConfig, RopeOrder, RopeScaling, checked_scaling,
    unknown_architecture,
};

type Read<T> = Result<T, String>;

/// Reads the description from `config`.
pub(super) fn read(config: &Value) -> Read<DecoderConfig> {
    let architecture = match config.get("model_type") {
        Some(Value::String(name)) => name.as_str(),
        other => return Err(unknown_architecture("model_type", &shown(other))),
    };
    // (query, key and value; output; MLP) and the norm of queries and keys.
    let attention_bias = || flag(config, "attention_bias", false);
    let ((qkv_bias, output_bias, mlp_bias), qk_norm) = match architecture {
        "llama" => (
            (
                attention_bias()?,
                attention_bias()?,
                flag(config, "mlp_bias", false)?,
            ),
            false,
        ),
        "qwen2" => ((true, false, false), false),
        "qwen3" => ((attention_bias()?, attention_bias()?, false), true),
        other => return Err(unknown_architecture("model_type", other)),
    };
    match config.get("hidden_act").and_then(Value::as_str) {
        None | Some("silu") => {}
        Some(other) => return Err(format!("hidden_act: expected \"silu\", got {other:?}")),
    }
    let hidden_size = size(config, "hidden_size", None)?;
    let heads = size(config, "num_attention_heads", None)?;
    let layers = size(config, "num_hidden_layers", None)?;
    let head_dim = size(config, "head_dim", Some(hidden_size / heads))?;
    Ok(DecoderConfig {
        architecture: architecture.to_owned(),
        hidden_size,
        intermediate_size: size(config, "intermediate_size", None)?,
        heads,
        kv_heads: size(config, "num_key_value_heads", Some(heads))?,
        head_dim,
        vocab_size: size(config, "vocab_size", None)?,
        context_length: size(config, "max_position_embeddings", None)?,
        norm_eps: number(config, "rms_norm_eps", Some(1e-6))? as f32,
        rope: rope(config, head_dim)?,
        qk_norm,
        qkv_bias,
        output_bias,
        mlp_bias,
        tied_embeddings: flag(config, "tie_word_embeddings", false)?,
        attention_scale: 1.0 / (head_dim as f32).sqrt(),
        sliding_windows: sliding_windows(config, architecture, layers)?,
    })
}

/// Rope by `rope_parameters`, or by `rope_theta` and `rope_scaling`.
fn rope(config: &Value, head_dim: usize) -> Read<RopeConfig> {
    let absent = Value::Null;
    let section = ["rope_parameters", "rope_scaling"]
        .iter()
        .filter_map(|name| config.get(name))
        .find(|value| value.is_object())
        .unwrap_or(&absent);
    let theta = match section.get("rope_theta") {
        Some(_) => number(section, "rope_theta", None)?,
        None => number(config, "rope_theta", Some(10_000.0))?,
    };
    let partial = match section.get("partial_rotary_factor") {
        Some(_) => number(section, "partial_rotary_factor", None)?,
        None => number(config, "partial_rotary_factor", Some(1.0))?,
    };
    Ok(RopeConfig {
        theta,
        dimensions: (head_dim as f64 * partial) as usize,
        order: RopeOrder::Halves,
        scaling: scaling(section)?,
    })
}

/// The scaling of a `rope_parameters` or `rope_scaling` object.
fn scaling(section: &Value) -> Read<RopeScaling> {
    let kind = section.get("rope_type").or_else(|| section.get("type"));
    let scaling = match kind.and_then(Value::as_str) {
        None if kind.is_none() => RopeScaling::None,
        Some("default") => RopeScaling::None,
        // Frequencies change only beyond `max_position_embeddings`, where no sequence goes here.
        Some("dynamic") => RopeScaling::None,
        Some("linear") => RopeScaling::Linear {
            factor: number(section, "factor", None)?,
        },
        Some("llama3") => RopeScaling::Llama3 {
            factor: number(section, "factor", None)?,
            low_freq_factor: number(section, "low_freq_factor", None)?,
            high_freq_factor: number(section, "high_freq_factor", None)?,
            original_context: number(section, "original_max_position_embeddings", None)?,
        },
        _ => {
            return Err(format!(
                "rope_scaling.rope_type: expected one of default, linear, dynamic, llama3, got {}",
                shown(kind)
            ));
        }
    };
    checked_scaling(scaling)
}

/// Each layer's window: `layer_types` where it is given, else Qwen's `max_window_layers` rule.
fn sliding_windows(config: &Value, architecture: &str, layers: usize) -> Read<Vec<Option<usize>>> {
    if layers > MAX_DIMENSION {
        return Err(format!(
            "num_hidden_layers: expected 1..={MAX_DIMENSION}, got {layers}"
        ));
    }
    let used = architecture != "llama" && flag(config, "use_sliding_window", false)?;
    let window = match config.get("sliding_window") {
        Some(Value::Number(_)) if used => Some(size(config, "sliding_window", None)?),
        _ => None,
    };
    match config.get("layer_types") {
        None | Some(Value::Null) => {
            let first = size(config, "max_window_layers", Some(28))?;
            Ok((0..layers).map(|layer| window.filter(|_| layer >= first)).collect())
        }
        Some(Value::Array(types)) if types.len() == layers => types
            .iter()
            .map(|kind| match kind.as_str() {
                Some("full_attention") => Ok(None),
                Some("sliding_attention") if window.is_some() => Ok(window),
                _ => Err(format!(
                    "layer_types: expected full_attention, or sliding_attention with a sliding_window in use, got {kind}"
                )),
            })
            .collect(),
        other => Err(format!(
            "layer_types: expected {layers} names, one a layer, got {}",
            shown(other)
        )),
    }
}

/// A field as it is shown in an error.
fn shown(value: Option<&Value>) -> String {
    value.map_or_else(|| "nothing".to_owned(), Value::to_string)
}

/// The field `name` as a whole number; an absent or null one takes the default, where there is one.
fn size(object: &Value, name: &str, default: Option<usize>) -> Read<usize> {
    match object.get(name).filter(|value| !value.is_null()) {
        None => default.ok_or_else(|| format!("{name}: expected a whole number, got nothing")),
        Some(value) => value
            .as_u64()
            .and_then(|n| usize::try_from(n).ok())
            .filter(|n| *n <= MAX_DIMENSION && (*n > 0 || name == "max_window_layers"))
            .ok_or_else(|| {
                format!("{name}: expected a whole number in 1..={MAX_DIMENSION}, got {value}")
            }),
    }
}

/// The field `name` as a number.
fn number(object: &Value, name: &str, default: Option<f64>) -> Read<f64> {
    match object.get(name).filter(|value| !value.is_null()) {
        None => default.ok_or_else(|| format!("{name}: expected a number, got nothing")),
        Some(value) => value
            .as_f64()
            .ok_or_else(|| format!("{name}: expected a number, got {value}")),
    }
}

/// The field `name` as true or false.
fn flag(object: &Value, name: &str, default: bool) -> Read<bool> {
    match object.get(name).filter(|value| !value.is_null()) {
        None => Ok(default),
        Some(value) => value
            .as_bool()
            .ok_or_else(|| format!("{name}: expected true or false, got {value}")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

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
        assert_eq!(read_older.rope.theta, 5e5);
        assert_eq!(read_older.head_dim, 16);
        assert!(
            matches!(read_older.rope.scaling, RopeScaling::Llama3 { factor, .. } if factor == 8.0)
        );
    }

    #[test]
    fn an_unknown_architecture_is_named_with_what_is_known() {
        let error = read(&with(llama(), json!({"model_type": "mamba"}))).unwrap_err();
        assert_eq!(
            error,
            "model_type: expected one of llama, qwen2, qwen3, got \"mamba\""
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
                json!({"hidden_act": "gelu"}),
                "hidden_act: expected \"silu\", got \"gelu\"",
            ),
            (
                json!({"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}),
                "rope_scaling.rope_type: expected one of default, linear, dynamic, llama3, got \"yarn\"",
            ),
            (
                json!({"rope_scaling": {"type": "linear", "factor": -4.0}}),
                "rope_scaling.factor: expected above 0, got -4",
            ),
        ] {
            assert_eq!(read(&with(llama(), fields)).unwrap_err(), expected);
        }
    }

    #[test]
    fn qwen_windows_start_at_max_window_layers() {
        let fields = json!({
            "model_type": "qwen3", "use_sliding_window": true, "sliding_window": 32, "max_window_layers": 1,
        });
        let config = read(&with(llama(), fields)).unwrap();
        assert_eq!(config.sliding_windows, [None, Some(32), Some(32)]);
        assert!(config.qk_norm);
    }
}
