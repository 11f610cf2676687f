//! A trained decoder as files that this library, transformers and PEFT load.

use outcrop_inference::{Checkpoint, ModelSource};
use outcrop_tensor::{Matrix, Pool, Product, ops};
use serde_json::{Value, json};

use crate::decoder::Decoder;
use crate::parameters::Parameters;
use crate::safetensors::to_safetensors;

/// A file's name and what it holds.
pub type NamedFile = (&'static str, Vec<u8>);

impl Decoder {
    /// The files of the whole model: `config.json` and `model.safetensors`, in F32, an adapter's changes
    /// added to the weights. What else a folder holds, the tokenizer above all, is the base's own.
    pub fn model_files(&self, pool: &Pool, base: &Checkpoint) -> Vec<NamedFile> {
        vec![
            ("config.json", config_of(base)),
            ("model.safetensors", to_safetensors(&self.merged(pool))),
        ]
    }

    /// The files of the adapter in PEFT's layout, `base` being the base model's name there; `None` where
    /// the decoder has no adapter.
    pub fn adapter_files(&self, base: &str) -> Option<Vec<NamedFile>> {
        let options = self.low_rank_options()?;
        let config = json!({
            "base_model_name_or_path": base,
            "bias": "none",
            "fan_in_fan_out": false,
            "inference_mode": true,
            "init_lora_weights": true,
            "lora_alpha": options.alpha,
            "lora_dropout": options.dropout,
            "modules_to_save": null,
            "peft_type": "LORA",
            "r": options.rank,
            "target_modules": options.target_modules,
            "task_type": "CAUSAL_LM",
            "use_dora": false,
            "use_rslora": false,
        });
        let weights = to_safetensors(self.trained_parameters());
        Some(vec![
            ("adapter_config.json", pretty(&config)),
            ("adapter_model.safetensors", weights),
        ])
    }

    /// The weights with the adapter's changes added: `W + alpha / rank * B A`.
    fn merged(&self, pool: &Pool) -> Parameters {
        let mut merged = self.parameters().clone();
        for (weight, change) in self.changed_weights() {
            let (down, up) = (change.down, change.up);
            let cols = down.len() / change.rank;
            let scaled: Vec<f32> = up.iter().map(|v| v * change.scale).collect();
            let product = Product {
                data: &mut merged.values[weight],
                stride: cols,
                accumulate: true,
            };
            let up = Matrix::of_rows(&scaled, change.rank);
            ops::matmul(pool, up, Matrix::of_rows(down, cols), product);
        }
        merged
    }
}

/// The files of an encoder that embeds, as a sentence-transformers folder holds them beside its base's
/// other files: those that tell how vectors are pooled are written where the base has none.
pub(crate) fn encoder_files(parameters: &Parameters, base: &Checkpoint) -> Vec<NamedFile> {
    let mut files = vec![("config.json", config_of(base))];
    let module = |number: usize, kind: &str, path: &str| {
        let kind = format!("sentence_transformers.models.{kind}");
        json!({"idx": number, "name": number.to_string(), "path": path, "type": kind})
    };
    if !base.path().join("modules.json").exists() {
        let modules = json!([
            module(0, "Transformer", ""),
            module(1, "Pooling", "1_Pooling"),
            module(2, "Normalize", "2_Normalize"),
        ]);
        let width = match base.config() {
            ModelSource::HuggingFace { config, .. } => config["hidden_size"].clone(),
            ModelSource::Gguf { .. } => Value::Null,
        };
        let pooling = json!({"word_embedding_dimension": width, "pooling_mode_mean_tokens": true});
        files.push(("1_Pooling/config.json", pretty(&pooling)));
        files.push(("modules.json", pretty(&modules)));
    }
    files.push(("model.safetensors", to_safetensors(parameters)));
    files
}

/// The base's configuration, of weights in F32.
fn config_of(base: &Checkpoint) -> Vec<u8> {
    let mut config = match base.config() {
        ModelSource::HuggingFace { config, .. } => config.clone(),
        ModelSource::Gguf { .. } => Value::Null,
    };
    for name in ["torch_dtype", "dtype"] {
        if let Some(dtype) = config.get_mut(name) {
            *dtype = json!("float32");
        }
    }
    pretty(&config)
}

pub(crate) fn pretty(value: &Value) -> Vec<u8> {
    let mut text = format!("{value:#}");
    text.push('\n');
    text.into_bytes()
}
