//! What a model's files say it is for.

use std::path::Path;

use outcrop_api::ModelKind;
use serde_json::Value;

use crate::encoder::ENCODER_ARCHITECTURES;
use crate::pair_prompt::reads_pair_roles;
use crate::sentence_transformers::listed;
use crate::weights::{WeightsError, read_json, read_text};

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
