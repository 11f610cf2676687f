//! The bodies of Meta's Llama: a prompt that its caller has templated.

use outcrop_api::{InferenceConfig, Result};
use serde_json::{Map, Value, json};

use super::text_format::{
    Asked, ChunkFormat, TextFormat, continuing, count, finish_reason, text_of,
};
use crate::operations::Members;

/// Tokens that are made where the body does not say.
const DEFAULT_LENGTH: usize = 512;

pub(super) struct Llama;

impl TextFormat for Llama {
    fn ask(&self, mut body: Members) -> Result<Asked> {
        let prompt: String = body.required("prompt")?;
        let config = InferenceConfig {
            max_tokens: Some(body.read("max_gen_len")?.unwrap_or(DEFAULT_LENGTH)),
            temperature: body.read("temperature")?,
            top_p: body.read("top_p")?,
            ..InferenceConfig::default()
        };
        body.only("images", &[json!([])])?;
        body.end()?;
        Ok(continuing(prompt, config))
    }

    fn answer(&self, output: &Map<String, Value>) -> Result<Value> {
        let usage = output.get("usage");
        Ok(json!({
            "generation": text_of(output),
            "prompt_token_count": count(usage, "inputTokens"),
            "generation_token_count": count(usage, "outputTokens"),
            "stop_reason": finish_reason(output.get("stopReason")),
        }))
    }

    fn chunks(&self) -> Box<dyn ChunkFormat> {
        Box::new(LlamaChunks { reason: "stop" })
    }
}

struct LlamaChunks {
    reason: &'static str,
}

impl ChunkFormat for LlamaChunks {
    fn push(&mut self, event: &str, value: &Value) -> Result<Vec<Value>> {
        Ok(match event {
            "contentBlockDelta" => match value["delta"]["text"].as_str() {
                Some(text) => vec![json!({"generation": text, "stop_reason": null})],
                None => Vec::new(),
            },
            "messageStop" => {
                self.reason = finish_reason(value.get("stopReason"));
                Vec::new()
            }
            "metadata" => {
                let usage = value.get("usage");
                vec![json!({
                    "generation": "",
                    "prompt_token_count": count(usage, "inputTokens"),
                    "generation_token_count": count(usage, "outputTokens"),
                    "stop_reason": self.reason,
                })]
            }
            _ => Vec::new(),
        })
    }
}
