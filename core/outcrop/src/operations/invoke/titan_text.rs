//! The bodies of Amazon Titan Text.

use outcrop_api::Result;
use serde_json::{Map, Value, json};

use super::text_format::{Asked, ChunkFormat, TextFormat, count, is_cut, text_of};
use crate::operations::Members;

pub(super) struct TitanText;

impl TextFormat for TitanText {
    fn ask(&self, mut body: Members) -> Result<Asked> {
        let text: String = body.required("inputText")?;
        let mut config = Map::new();
        if let Some(value) = body.take("textGenerationConfig") {
            let mut given = Members::of(value, "textGenerationConfig")?;
            for (titan, converse) in [
                ("maxTokenCount", "maxTokens"),
                ("temperature", "temperature"),
                ("topP", "topP"),
                ("stopSequences", "stopSequences"),
            ] {
                if let Some(value) = given.take(titan) {
                    config.insert(converse.into(), value);
                }
            }
            given.end()?;
        }
        body.end()?;
        let messages = json!([{"role": "user", "content": [{"text": text}]}]);
        Ok(Asked::Conversation(Map::from_iter([
            ("messages".to_string(), messages),
            ("inferenceConfig".to_string(), Value::Object(config)),
        ])))
    }

    fn answer(&self, output: &Map<String, Value>) -> Result<Value> {
        let usage = output.get("usage");
        Ok(json!({
            "inputTextTokenCount": count(usage, "inputTokens"),
            "results": [{
                "tokenCount": count(usage, "outputTokens"),
                "outputText": text_of(output),
                "completionReason": reason(output.get("stopReason")),
            }],
        }))
    }

    fn chunks(&self) -> Box<dyn ChunkFormat> {
        Box::new(TitanChunks {
            reason: reason(None),
        })
    }
}

fn reason(stop: Option<&Value>) -> &'static str {
    match stop.and_then(Value::as_str) {
        Some("content_filtered" | "guardrail_intervened") => "CONTENT_FILTERED",
        Some("stop_sequence") => "STOP_CRITERIA_MET",
        _ if is_cut(stop) => "LENGTH",
        _ => "FINISH",
    }
}

struct TitanChunks {
    reason: &'static str,
}

impl ChunkFormat for TitanChunks {
    fn push(&mut self, event: &str, value: &Value) -> Result<Vec<Value>> {
        Ok(match event {
            "contentBlockDelta" => match value["delta"]["text"].as_str() {
                Some(text) => vec![json!({"index": 0, "outputText": text})],
                None => Vec::new(),
            },
            "messageStop" => {
                self.reason = reason(value.get("stopReason"));
                Vec::new()
            }
            "metadata" => {
                let usage = value.get("usage");
                vec![json!({
                    "index": 0,
                    "outputText": "",
                    "inputTextTokenCount": count(usage, "inputTokens"),
                    "totalOutputTextTokenCount": count(usage, "outputTokens"),
                    "completionReason": self.reason,
                })]
            }
            _ => Vec::new(),
        })
    }
}
