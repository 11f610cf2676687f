//! The bodies of Mistral's models that read a prompt.

use outcrop_api::{InferenceConfig, Result};
use serde_json::{Map, Value, json};

use super::text_format::{Asked, ChunkFormat, TextFormat, continuing, finish_reason, text_of};
use crate::operations::Members;

pub(super) struct Mistral;

impl TextFormat for Mistral {
    fn ask(&self, mut body: Members) -> Result<Asked> {
        let prompt: String = body.required("prompt")?;
        let config = InferenceConfig {
            max_tokens: body.read("max_tokens")?,
            temperature: body.read("temperature")?,
            top_p: body.read("top_p")?,
            top_k: body.read("top_k")?,
            stop_sequences: body.read("stop")?.unwrap_or_default(),
            ..InferenceConfig::default()
        };
        body.end()?;
        Ok(continuing(prompt, config))
    }

    fn answer(&self, output: &Map<String, Value>) -> Result<Value> {
        let reason = finish_reason(output.get("stopReason"));
        Ok(json!({"outputs": [{"text": text_of(output), "stop_reason": reason}]}))
    }

    fn chunks(&self) -> Box<dyn ChunkFormat> {
        Box::new(MistralChunks { reason: "stop" })
    }
}

struct MistralChunks {
    reason: &'static str,
}

impl ChunkFormat for MistralChunks {
    fn push(&mut self, event: &str, value: &Value) -> Result<Vec<Value>> {
        Ok(match event {
            "contentBlockDelta" => match value["delta"]["text"].as_str() {
                Some(text) => vec![json!({"outputs": [{"text": text, "stop_reason": null}]})],
                None => Vec::new(),
            },
            "messageStop" => {
                self.reason = finish_reason(value.get("stopReason"));
                Vec::new()
            }
            "metadata" => vec![json!({"outputs": [{"text": "", "stop_reason": self.reason}]})],
            _ => Vec::new(),
        })
    }
}
