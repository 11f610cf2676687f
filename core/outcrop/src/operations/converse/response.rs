//! What `Converse` answers beside the model's words.

use std::sync::Arc;
use std::time::Instant;

use outcrop_api::{Error, Gathered, Result, StopReason, TokenLogprobs, Usage};
use outcrop_models::Model;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::logprobs;

/// What the answer's form depends on.
pub struct Frame {
    pub started: Instant,
    /// Whether the request marked what is worth keeping in the prefix cache.
    pub marks_cache: bool,
    /// JSON pointers into the model's own answer.
    pub response_paths: Vec<String>,
    pub performance: Option<Value>,
    pub service_tier: Option<Value>,
    /// What spells the tokens of log-probabilities.
    pub model: Option<Arc<Model>>,
    /// What a prompt router has chosen.
    pub trace: Option<Value>,
}

impl Frame {
    /// The form of an answer that nothing further was asked of, begun at `started`.
    pub fn new(started: Instant) -> Self {
        Self {
            started,
            marks_cache: false,
            response_paths: Vec::new(),
            performance: None,
            service_tier: None,
            model: None,
            trace: None,
        }
    }

    /// The members of the whole answer.
    pub fn whole(
        &self,
        gathered: Gathered,
        stop_reason: StopReason,
        usage: &Usage,
    ) -> Result<Map<String, Value>> {
        let reply = gathered.into_reply((stop_reason, *usage), 0);
        let content: Result<Vec<Value>> = reply.content.iter().map(json_of).collect();
        let mut members = self.end(usage);
        members.insert(
            "output".into(),
            json!({"message": {"role": "assistant", "content": content?}}),
        );
        members.insert("stopReason".into(), json!(stop_reason));
        if let Some(fields) = self.additional_fields(stop_reason, usage, &reply.logprobs)? {
            members.insert("additionalModelResponseFields".into(), fields);
        }
        Ok(members)
    }

    /// The members that the stream's last event, `metadata`, has too.
    pub fn end(&self, usage: &Usage) -> Map<String, Value> {
        let mut members = Map::new();
        members.insert("usage".into(), self.usage(usage));
        let latency_ms = self.started.elapsed().as_millis() as u64;
        members.insert("metrics".into(), json!({ "latencyMs": latency_ms }));
        let stated = [
            ("performanceConfig", &self.performance),
            ("serviceTier", &self.service_tier),
            ("trace", &self.trace),
        ];
        for (name, value) in stated {
            if let Some(value) = value {
                members.insert(name.into(), value.clone());
            }
        }
        members
    }

    /// Tokens as Bedrock counts them: where the request marks a cache point, those that the prefix
    /// cache knew or kept stand apart from the rest of the input.
    fn usage(&self, usage: &Usage) -> Value {
        if !self.marks_cache {
            return json!({
                "inputTokens": usage.input_tokens,
                "outputTokens": usage.output_tokens,
                "totalTokens": usage.total_tokens,
            });
        }
        let (read, written) = (
            usage.cache_read_input_tokens,
            usage.cache_write_input_tokens,
        );
        json!({
            "inputTokens": usage.input_tokens.saturating_sub(read + written),
            "outputTokens": usage.output_tokens,
            "totalTokens": usage.total_tokens,
            "cacheReadInputTokens": read,
            "cacheWriteInputTokens": written,
        })
    }

    /// The fields that the request's pointers find in the model's own answer; a pointer to nothing
    /// finds nothing, as on AWS.
    ///
    /// # Errors
    /// `ValidationException` where log-probabilities are asked of a model without a tokenizer.
    pub fn additional_fields(
        &self,
        stop_reason: StopReason,
        usage: &Usage,
        logprobs: &[TokenLogprobs],
    ) -> Result<Option<Value>> {
        if self.response_paths.is_empty() {
            return Ok(None);
        }
        let mut answer = json!({
            "stop_reason": stop_reason,
            "usage": {
                "input_tokens": usage.input_tokens,
                "output_tokens": usage.output_tokens,
            },
        });
        if let Some(model) = self.model.as_ref().filter(|_| !logprobs.is_empty()) {
            answer["logprobs"] = logprobs::told(model, logprobs)?;
        }
        let mut fields = json!({});
        for path in &self.response_paths {
            if let Some(value) = answer.pointer(path) {
                put(&mut fields, path, value.clone());
            }
        }
        Ok(Some(fields))
    }
}

/// Puts `value` at the pointer `path`, with objects down to it.
fn put(fields: &mut Value, path: &str, value: Value) {
    let mut place = fields;
    for name in path.split('/').skip(1) {
        let name = name.replace("~1", "/").replace("~0", "~");
        if !place.is_object() {
            *place = json!({});
        }
        place = &mut place[name];
    }
    *place = value;
}

/// A value in the JSON of the service's model.
pub(super) fn json_of(value: &impl Serialize) -> Result<Value> {
    serde_json::to_value(value).map_err(|error| {
        Error::internal(format!("a block could not be written: {error}")).with_source(error)
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn frame(marks_cache: bool, paths: &[&str]) -> Frame {
        Frame {
            marks_cache,
            response_paths: paths.iter().map(|path| path.to_string()).collect(),
            ..Frame::new(Instant::now())
        }
    }

    #[test]
    fn cached_tokens_stand_apart_where_a_cache_point_was_set() {
        let usage = Usage {
            cache_read_input_tokens: 60,
            cache_write_input_tokens: 30,
            ..Usage::new(100, 5)
        };
        assert_eq!(
            frame(true, &[]).usage(&usage),
            json!({"inputTokens": 10, "outputTokens": 5, "totalTokens": 105,
                   "cacheReadInputTokens": 60, "cacheWriteInputTokens": 30})
        );
        assert_eq!(frame(false, &[]).usage(&usage)["inputTokens"], 100);
    }

    #[test]
    fn pointers_find_what_is_there() {
        let frame = frame(false, &["/usage/output_tokens", "/nothing"]);
        assert_eq!(
            frame
                .additional_fields(StopReason::EndTurn, &Usage::new(1, 2), &[])
                .unwrap(),
            Some(json!({"usage": {"output_tokens": 2}}))
        );
    }
}
