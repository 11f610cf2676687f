//! The events of `ConverseStream` as those of Anthropic's stream.

use outcrop_api::{Error, Result};
use serde_json::{Value, json};

use super::response::{citation, stopped, usage};

/// A running translation: each event of `ConverseStream` becomes some of Anthropic's, each a JSON
/// object with its `type`.
pub struct MessageEvents {
    id: String,
    model: String,
    /// The request's stop sequences.
    stops: Vec<String>,
    /// Whether the block that is being written was told of.
    is_open: bool,
    /// Why it stopped, until the token counts are known.
    stop: Option<(Value, Value)>,
}

impl MessageEvents {
    /// The events of the message `id`, which `model` writes.
    pub fn new(id: String, model: &str, stops: Vec<String>) -> Self {
        Self {
            id,
            model: model.to_string(),
            stops,
            is_open: false,
            stop: None,
        }
    }

    /// What the next event of `ConverseStream` becomes.
    ///
    /// # Errors
    /// `ModelErrorException` where the model's output has no form in this format.
    pub fn push(&mut self, event: &str, value: &Value) -> Result<Vec<Value>> {
        let index = &value["contentBlockIndex"];
        Ok(match event {
            "messageStart" => vec![self.start()],
            "contentBlockStart" => {
                let call = &value["start"]["toolUse"];
                self.is_open = true;
                vec![json!({
                    "type": "content_block_start",
                    "index": index,
                    "content_block": {
                        "type": "tool_use", "id": call["toolUseId"], "name": call["name"], "input": {},
                    },
                })]
            }
            "contentBlockDelta" => self.delta(index, &value["delta"])?,
            "contentBlockStop" => {
                let mut events = self.opened(index, || json!({"type": "text", "text": ""}));
                events.push(json!({"type": "content_block_stop", "index": index}));
                self.is_open = false;
                events
            }
            "messageStop" => {
                self.stop = Some(stopped(value.get("stopReason"), &self.stops)?);
                Vec::new()
            }
            "metadata" => {
                let (reason, sequence) = self.stop.take().unwrap_or_default();
                vec![
                    json!({
                        "type": "message_delta",
                        "delta": {"stop_reason": reason, "stop_sequence": sequence},
                        "usage": usage(value.get("usage")),
                    }),
                    json!({"type": "message_stop"}),
                ]
            }
            other => return Err(Error::internal(format!("an event has no form: {other}"))),
        })
    }

    /// Counts are cumulative: none yet.
    fn start(&self) -> Value {
        json!({
            "type": "message_start",
            "message": {
                "id": self.id, "type": "message", "role": "assistant", "model": self.model,
                "content": [], "stop_reason": null, "stop_sequence": null, "usage": usage(None),
            },
        })
    }

    fn delta(&mut self, index: &Value, delta: &Value) -> Result<Vec<Value>> {
        let thinking = || json!({"type": "thinking", "thinking": "", "signature": ""});
        let (begin, delta): (fn() -> Value, Value) = if let Some(text) = delta.get("text") {
            (
                || json!({"type": "text", "text": ""}),
                json!({"type": "text_delta", "text": text}),
            )
        } else if let Some(input) = delta.pointer("/toolUse/input") {
            let delta = json!({"type": "input_json_delta", "partial_json": input});
            (|| Value::Null, delta)
        } else if let Some(text) = delta.pointer("/reasoningContent/text") {
            (
                thinking,
                json!({"type": "thinking_delta", "thinking": text}),
            )
        } else if let Some(signature) = delta.pointer("/reasoningContent/signature") {
            (
                thinking,
                json!({"type": "signature_delta", "signature": signature}),
            )
        } else if let Some(cited) = delta.get("citation") {
            (
                || json!({"type": "text", "text": "", "citations": []}),
                json!({"type": "citations_delta", "citation": citation(cited)?}),
            )
        } else {
            return Err(Error::internal(format!("a delta has no form: {delta}")));
        };
        let mut events = self.opened(index, begin);
        events.push(json!({"type": "content_block_delta", "index": index, "delta": delta}));
        Ok(events)
    }

    /// The event that begins a block, unless that was told.
    fn opened(&mut self, index: &Value, block: impl FnOnce() -> Value) -> Vec<Value> {
        match std::mem::replace(&mut self.is_open, true) {
            true => Vec::new(),
            false => vec![json!({
                "type": "content_block_start", "index": index, "content_block": block(),
            })],
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn blocks_are_opened_filled_and_closed() {
        let mut events = MessageEvents::new("msg_1".into(), "m", Vec::new());
        let mut told = Vec::new();
        for (event, value) in [
            ("messageStart", json!({"role": "assistant"})),
            (
                "contentBlockDelta",
                json!({"contentBlockIndex": 0, "delta": {"text": "Hi"}}),
            ),
            (
                "contentBlockDelta",
                json!({"contentBlockIndex": 0, "delta": {"text": "!"}}),
            ),
            ("contentBlockStop", json!({"contentBlockIndex": 0})),
            (
                "contentBlockStart",
                json!({"contentBlockIndex": 1,
                "start": {"toolUse": {"toolUseId": "t", "name": "f"}}}),
            ),
            (
                "contentBlockDelta",
                json!({"contentBlockIndex": 1, "delta": {"toolUse": {"input": "{}"}}}),
            ),
            ("contentBlockStop", json!({"contentBlockIndex": 1})),
            ("messageStop", json!({"stopReason": "tool_use"})),
            (
                "metadata",
                json!({"usage": {"inputTokens": 1, "outputTokens": 2}}),
            ),
        ] {
            told.extend(events.push(event, &value).unwrap());
        }
        let kinds: Vec<&str> = told
            .iter()
            .map(|event| event["type"].as_str().unwrap())
            .collect();
        assert_eq!(
            kinds,
            [
                "message_start",
                "content_block_start",
                "content_block_delta",
                "content_block_delta",
                "content_block_stop",
                "content_block_start",
                "content_block_delta",
                "content_block_stop",
                "message_delta",
                "message_stop",
            ]
        );
        assert_eq!(
            told[1]["content_block"],
            json!({"type": "text", "text": ""})
        );
        assert_eq!(told[5]["content_block"]["id"], "t");
        assert_eq!(
            told[6]["delta"],
            json!({"type": "input_json_delta", "partial_json": "{}"})
        );
        assert_eq!(told[8]["delta"]["stop_reason"], "tool_use");
        assert_eq!(told[8]["usage"]["input_tokens"], 1);
    }
}
