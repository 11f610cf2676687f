//! What a model's files say it is for.

use std::collections::BTreeMap;
use std::path::Path;

use outcrop_api::ModelKind;
use serde_json::Value;

use crate::encoder::{ENCODER_ARCHITECTURES, is_gguf_encoder};
use crate::pair_prompt::reads_pair_roles;
use crate::pooling::PoolingMode;
use crate::sentence_transformers::listed;
use crate::weights::{Checkpoint, GgufValue, ModelSource, WeightsError, read_json, read_text};

/// What the model in a Hugging Face folder is for; `config` is its `config.json`.
///
/// It reranks where its architecture is `…ForSequenceClassification`, where sentence-transformers'
/// files call it a `CrossEncoder` or list a `LogitScore` module, or where `config.json` has the key
/// `sentence_transformers` that cross-encoders are saved with. It embeds where `modules.json` lists
/// a pooling, or where it is an encoder. A language model whose files say none of this reranks where
/// its chat template reads the roles `query` and `document`, where the front matter of its
/// `README.md` says `pipeline_tag: text-ranking`, or where its folder is named a reranker:
/// Qwen3-Reranker was first published without any other mark. Everything else chats.
///
/// # Errors
/// [`WeightsError`] for files that are not what they should be.
pub fn model_kind(folder: &Path, config: &Value) -> Result<ModelKind, WeightsError> {
    let classifies = config["architectures"].as_array().is_some_and(|names| {
        names
            .iter()
            .filter_map(Value::as_str)
            .any(|name| name.ends_with("ForSequenceClassification"))
    });
    let modules = listed(folder)?;
    let has_module = |name: &str| modules.iter().any(|(kind, _)| kind.ends_with(name));
    if classifies
        || has_module(".LogitScore")
        || !config["sentence_transformers"].is_null()
        || is_cross_encoder(folder)?
    {
        return Ok(ModelKind::Rerank);
    }
    let model_type = config["model_type"].as_str().unwrap_or_default();
    let is_encoder = ENCODER_ARCHITECTURES.contains(&model_type) || model_type.contains("bert");
    if is_encoder || has_module(".Pooling") {
        return Ok(ModelKind::Embedding);
    }
    let is_named = folder
        .file_name()
        .is_some_and(|name| name.to_string_lossy().to_lowercase().contains("reranker"));
    if is_named || reads_pair_roles(folder)? || is_tagged_ranking(folder) {
        return Ok(ModelKind::Rerank);
    }
    Ok(ModelKind::Chat)
}

/// What the GGUF file at `path` is for: its weights are not read.
///
/// # Errors
/// [`WeightsError`] for a file that is not sound, or a pooling that is not known.
pub fn gguf_kind(path: &Path) -> Result<ModelKind, WeightsError> {
    let checkpoint = Checkpoint::open(path)?;
    match checkpoint.config() {
        ModelSource::Gguf { metadata } => kind_of_metadata(path, metadata),
        ModelSource::HuggingFace { config, .. } => model_kind(path, config),
    }
}

/// As [`gguf_kind`], of metadata that are read already.
pub(crate) fn kind_of_metadata(
    path: &Path,
    metadata: &BTreeMap<String, GgufValue>,
) -> Result<ModelKind, WeightsError> {
    Ok(match gguf_pooling(path, metadata)? {
        GgufPooling::Rank => ModelKind::Rerank,
        GgufPooling::Mode(_) => ModelKind::Embedding,
        GgufPooling::None if is_gguf_encoder(metadata) => ModelKind::Embedding,
        GgufPooling::None => ModelKind::Chat,
    })
}

/// What a GGUF file says of how tokens' vectors become one.
pub(crate) enum GgufPooling {
    /// Nothing, or that they do not.
    None,
    Mode(PoolingMode),
    /// They become a score.
    Rank,
}

/// The `pooling_type` of `metadata`, by llama.cpp's numbers.
pub(crate) fn gguf_pooling(
    path: &Path,
    metadata: &BTreeMap<String, GgufValue>,
) -> Result<GgufPooling, WeightsError> {
    let architecture = metadata.get("general.architecture");
    let architecture = architecture.and_then(GgufValue::as_str).unwrap_or_default();
    let key = format!("{architecture}.pooling_type");
    let Some(value) = metadata.get(&key) else {
        return Ok(GgufPooling::None);
    };
    Ok(match value.as_u64() {
        Some(0) => GgufPooling::None,
        Some(1) => GgufPooling::Mode(PoolingMode::Mean),
        Some(2) => GgufPooling::Mode(PoolingMode::Cls),
        Some(3) => GgufPooling::Mode(PoolingMode::LastToken),
        Some(4) => GgufPooling::Rank,
        _ => {
            return Err(WeightsError::Unsupported {
                file: path.to_owned(),
                detail: format!(
                    "{key}: expected 0 (none), 1 (mean), 2 (cls), 3 (last) or 4 (rank), got {value}"
                ),
            });
        }
    })
}

/// Whether `config_sentence_transformers.json` calls the model a cross-encoder.
fn is_cross_encoder(folder: &Path) -> Result<bool, WeightsError> {
    let file = folder.join("config_sentence_transformers.json");
    if !file.exists() {
        return Ok(false);
    }
    let config = read_json(&file, "sentence-transformers' settings")?;
    Ok(config["model_type"] == "CrossEncoder")
}

/// Whether the front matter of the model's card says that it ranks texts. A card that cannot be
/// read says nothing.
fn is_tagged_ranking(folder: &Path) -> bool {
    let Ok(card) = read_text(&folder.join("README.md"), "the model's card") else {
        return false;
    };
    let mut lines = card.lines();
    lines.next() == Some("---")
        && lines
            .take_while(|line| line.trim_end() != "---")
            .any(|line| line.trim_end() == "pipeline_tag: text-ranking")
}
