//! The answer of `Converse` as a chat completion, whole or in chunks.

use std::time::{SystemTime, UNIX_EPOCH};

use outcrop_api::{Error, Result};
use serde_json::{Map, Value, json};

/// What every chunk of one answer has in common.
pub struct Completion {
    id: String,
    model: String,
    created: u64,
}

impl Completion {
    /// A fresh one that `model` writes.
    pub fn new(model: &str) -> Self {
        let letters = std::iter::repeat_with(fastrand::alphanumeric).take(24);
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            id: format!("chatcmpl-{}", letters.collect::<String>()),
            model: model.to_string(),
            created: since.as_secs(),
        }
    }

    fn told(&self, object: &str, choices: Value) -> Value {
        json!({
            "id": self.id, "object": object, "created": self.created, "model": self.model,
            "choices": choices,
        })
    }

    /// The completion that the members of a `Converse` answer are.
    ///
    /// # Errors
    /// `ModelErrorException` where the model's output has no form here.
    pub fn whole(&self, output: &Map<String, Value>) -> Result<Value> {
        let blocks = output
            .get("output")
            .and_then(|it| it.pointer("/message/content"));
        let (mut text, mut thought, mut calls) = (String::new(), String::new(), Vec::new());
        for block in blocks.and_then(Value::as_array).into_iter().flatten() {
            if let Some(call) = block.get("toolUse") {
                calls.push(json!({
                    "id": call["toolUseId"], "type": "function",
                    "function": {"name": call["name"], "arguments": call["input"].to_string()},
                }));
            } else if let Some(part) = block.pointer("/reasoningContent/reasoningText/text") {
                thought.push_str(part.as_str().unwrap_or_default());
            } else if let Some(part) = block["text"].as_str() {
                text.push_str(part);
            } else if let Some(parts) = block.pointer("/citationsContent/content") {
                let parts = parts.as_array().into_iter().flatten();
                text.extend(parts.filter_map(|part| part["text"].as_str()));
            } else {
                return Err(Error::internal(format!(
                    "a block has no form here: {block}"
                )));
            }
        }
        let content = if text.is_empty() && !calls.is_empty() {
            Value::Null
        } else {
            text.into()
        };
        let mut message = json!({"role": "assistant", "content": content, "refusal": null});
        if !thought.is_empty() {
            message["reasoning_content"] = thought.into();
        }
        if !calls.is_empty() {
            message["tool_calls"] = calls.into();
        }
        let reason = finish_reason(output.get("stopReason"))?;
        let choice = json!({
            "index": 0, "message": message, "logprobs": logprobs(output), "finish_reason": reason,
        });
        let mut told = self.told("chat.completion", json!([choice]));
        told["usage"] = usage(output.get("usage"));
        Ok(told)
    }
}

/// A running translation: each event of `ConverseStream` becomes a chunk, or none.
pub struct CompletionChunks {
    completion: Completion,
    tells_usage: bool,
    /// How many calls of tools were begun.
    calls: usize,
}

impl CompletionChunks {
    /// The chunks of `completion`; `tells_usage` adds one of the token counts at the end.
    pub fn new(completion: Completion, tells_usage: bool) -> Self {
        Self {
            completion,
            tells_usage,
            calls: 0,
        }
    }

    fn chunk(&self, delta: Value, reason: Option<&str>) -> Value {
        self.chunk_with(delta, reason, Value::Null)
    }

    fn chunk_with(&self, delta: Value, reason: Option<&str>, logprobs: Value) -> Value {
        let choice = json!({
            "index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": reason,
        });
        self.told(json!([choice]), Value::Null)
    }

    fn told(&self, choices: Value, usage: Value) -> Value {
        let mut chunk = self.completion.told("chat.completion.chunk", choices);
        if self.tells_usage {
            chunk["usage"] = usage;
        }
        chunk
    }

    /// What the next event of `ConverseStream` becomes.
    ///
    /// # Errors
    /// `ModelErrorException` where the model's output has no form in this format.
    pub fn push(&mut self, event: &str, value: &Value) -> Result<Option<Value>> {
        Ok(match event {
            "messageStart" => Some(self.chunk(json!({"role": "assistant", "content": ""}), None)),
            "contentBlockStart" => {
                let call = &value["start"]["toolUse"];
                let index = self.calls;
                self.calls += 1;
                let call = json!({
                    "index": index, "id": call["toolUseId"], "type": "function",
                    "function": {"name": call["name"], "arguments": ""},
                });
                Some(self.chunk(json!({ "tool_calls": [call] }), None))
            }
            "contentBlockDelta" => self.delta(&value["delta"])?,
            "contentBlockStop" => None,
            "messageStop" => {
                let reason = finish_reason(value.get("stopReason"))?;
                let logprobs = value.as_object().map(logprobs).unwrap_or_default();
                Some(self.chunk_with(json!({}), Some(reason), logprobs))
            }
            "metadata" if self.tells_usage => Some(self.told(json!([]), usage(value.get("usage")))),
            "metadata" => None,
            other => {
                return Err(Error::internal(format!(
                    "an event has no form here: {other}"
                )));
            }
        })
    }

    fn delta(&self, delta: &Value) -> Result<Option<Value>> {
        let delta = if let Some(text) = delta.get("text") {
            json!({ "content": text })
        } else if let Some(input) = delta.pointer("/toolUse/input") {
            if input == "" {
                return Ok(None);
            }
            let index = self.calls.saturating_sub(1);
            json!({"tool_calls": [{"index": index, "function": {"arguments": input}}]})
        } else if let Some(text) = delta.pointer("/reasoningContent/text") {
            json!({ "reasoning_content": text })
        } else if delta.get("citation").is_some() || delta.get("reasoningContent").is_some() {
            // Sources and signatures have no place in a chunk.
            return Ok(None);
        } else {
            return Err(Error::internal(format!(
                "a delta has no form here: {delta}"
            )));
        };
        Ok(Some(self.chunk(delta, None)))
    }
}

/// The log-probabilities of all tokens, where they were asked for.
fn logprobs(end: &Map<String, Value>) -> Value {
    let fields = end.get("additionalModelResponseFields");
    match fields.and_then(|fields| fields.get("logprobs")) {
        Some(tokens) => json!({"content": tokens, "refusal": null}),
        None => Value::Null,
    }
}

fn finish_reason(reason: Option<&Value>) -> Result<&'static str> {
    match reason.and_then(Value::as_str).unwrap_or_default() {
        "end_turn" | "stop_sequence" => Ok("stop"),
        "max_tokens" | "model_context_window_exceeded" => Ok("length"),
        "tool_use" => Ok("tool_calls"),
        "content_filtered" | "guardrail_intervened" => Ok("content_filter"),
        other => Err(Error::model(format!(
            "the model's output could not be read: {other}"
        ))),
    }
}

fn usage(usage: Option<&Value>) -> Value {
    let count = |name: &str| usage.and_then(|usage| usage[name].as_u64());
    let sum = |name: &str| count(name).unwrap_or(0);
    let mut told = json!({
        "prompt_tokens": sum("inputTokens"),
        "completion_tokens": sum("outputTokens"),
        "total_tokens": sum("totalTokens"),
    });
    if let Some(read) = count("cacheReadInputTokens") {
        told["prompt_tokens_details"] = json!({ "cached_tokens": read });
    }
    told
}
