//! How a query and a text become the one input of a reranking decoder.

use std::collections::BTreeMap;
use std::path::Path;

use outcrop_api::Result;
use serde_json::{Map, Value, json};

use crate::chat_template::ChatTemplate;
use crate::tokenizer::{Tokenizer, token_text};
use crate::weights::{GgufValue, WeightsError, read_json, read_text};

/// What Qwen3-Reranker was trained with around its input, and its default instruction.
const JUDGE: &str = "<|im_start|>system\nJudge whether the Document meets the requirements based \
on the Query and the Instruct provided. Note that the answer can only be \"yes\" or \"no\".\
<|im_end|>\n<|im_start|>user\n";
const ANSWER: &str = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n";
const INSTRUCTION: &str =
    "Given a web search query, retrieve relevant passages that answer the query";

/// How a pair is laid out.
#[derive(Debug)]
pub(crate) enum PairPrompt {
    /// As the model's chat template lays out the roles `system` (the instruction), `query` and
    /// `document`.
    Template {
        template: Box<ChatTemplate>,
        adds_generation_prompt: bool,
    },
    /// In the words of a GGUF file, `{query}` and `{document}` standing for the two.
    Filled(String),
    /// In the words of Qwen3-Reranker.
    Judge,
    /// As its tokenizer lays out two texts.
    Pair,
}

impl PairPrompt {
    /// The layout of the model in `folder`, whose transformer module's settings are `settings`: by
    /// its chat template where that reads the roles of a pair (or sentence-transformers' settings
    /// say that the model takes messages), in Qwen3-Reranker's words where its tokenizer has the
    /// markers that these need, and as two texts otherwise.
    ///
    /// # Errors
    /// [`WeightsError`] for a template that is not sound.
    pub fn of_folder(
        folder: &Path,
        settings: &Value,
        tokenizer: &Tokenizer,
    ) -> std::result::Result<Self, WeightsError> {
        let takes_messages = !settings["modality_config"]["message"].is_null();
        if (takes_messages || reads_pair_roles(folder)?)
            && let Some(template) = ChatTemplate::from_folder(folder)?
        {
            let asked = &settings["processing_kwargs"]["chat_template"]["add_generation_prompt"];
            return Ok(Self::Template {
                template: Box::new(template),
                adds_generation_prompt: asked.as_bool().unwrap_or(!takes_messages),
            });
        }
        Ok(Self::by_markers(tokenizer))
    }

    /// The layout that a GGUF file's metadata give: its own words, where it has some.
    pub fn of_gguf(metadata: &BTreeMap<String, GgufValue>, tokenizer: &Tokenizer) -> Self {
        let own = metadata.get("tokenizer.chat_template.rerank");
        match own.and_then(GgufValue::as_str) {
            Some(words) => Self::Filled(words.to_owned()),
            None => Self::by_markers(tokenizer),
        }
    }

    fn by_markers(tokenizer: &Tokenizer) -> Self {
        let has_markers = ["<|im_start|>", "<|im_end|>"]
            .iter()
            .all(|marker| tokenizer.token_to_id(marker).is_some());
        if has_markers { Self::Judge } else { Self::Pair }
    }

    /// The ids of a pair under an instruction; empty, the model's own.
    ///
    /// # Errors
    /// Of the template, in its own words, or of the tokenizer.
    pub fn encode(
        &self,
        tokenizer: &Tokenizer,
        instruction: &str,
        query: &str,
        text: &str,
    ) -> Result<Vec<u32>> {
        match self {
            Self::Template {
                template,
                adds_generation_prompt,
            } => {
                let message = |role: &str, text: &str| json!({"role": role, "content": text});
                let mut messages = vec![message("query", query), message("document", text)];
                if !instruction.is_empty() {
                    messages.insert(0, message("system", instruction));
                }
                let none = Map::new();
                let text = template.render_turns(&messages, &[], *adds_generation_prompt, &none)?;
                tokenizer.encode(&text, false)
            }
            Self::Filled(words) => {
                // The query's own braces are no placeholders.
                let parts: Vec<String> = words
                    .split("{query}")
                    .map(|part| part.replace("{document}", text))
                    .collect();
                tokenizer.encode(&parts.join(query), false)
            }
            Self::Judge => {
                let instruction = match instruction {
                    "" => INSTRUCTION,
                    own => own,
                };
                let text = format!(
                    "{JUDGE}<Instruct>: {instruction}\n<Query>: {query}\n<Document>: {text}{ANSWER}"
                );
                tokenizer.encode(&text, false)
            }
            Self::Pair => Ok(tokenizer
                .encode_pair(&format!("{instruction}{query}"), text)?
                .0),
        }
    }
}

/// Whether a model's chat template reads the roles of a pair.
///
/// # Errors
/// [`WeightsError`] for files that are not what they should be.
pub(crate) fn reads_pair_roles(folder: &Path) -> std::result::Result<bool, WeightsError> {
    let text = match read_text(&folder.join("chat_template.jinja"), "a chat template") {
        Ok(text) => text,
        Err(WeightsError::Missing { .. }) => {
            let file = folder.join("tokenizer_config.json");
            if !file.exists() {
                return Ok(false);
            }
            let config = read_json(&file, "the tokenizer's configuration")?;
            token_text(&config["chat_template"])
                .unwrap_or_default()
                .to_owned()
        }
        Err(error) => return Err(error),
    };
    let names =
        |role: &str| text.contains(&format!("'{role}'")) || text.contains(&format!("\"{role}\""));
    Ok(names("query") && names("document"))
}
