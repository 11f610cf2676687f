//! The chunks of `/chat/completions` as the events of a Converse answer.

use outcrop_api::{
    ContentBlock, ReasoningContent, ReasoningText, StopReason, StreamEvent, ToolUse, Usage,
};
use serde::Deserialize;
use serde_json::Value;

/// Most tool calls of one answer.
const MAX_CALLS: usize = 1024;

/// One chunk.
#[derive(Deserialize)]
pub(super) struct Chunk {
    #[serde(default)]
    choices: Vec<Choice>,
    usage: Option<ServerUsage>,
    pub error: Option<Value>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    delta: Delta,
    finish_reason: Option<String>,
    /// vLLM: the stop sequence that was met, or a token's id.
    #[serde(default)]
    stop_reason: Value,
}

#[derive(Default, Deserialize)]
struct Delta {
    content: Option<String>,
    reasoning_content: Option<String>,
    reasoning: Option<String>,
    tool_calls: Option<Vec<CallDelta>>,
}

#[derive(Deserialize)]
struct CallDelta {
    #[serde(default)]
    index: usize,
    id: Option<String>,
    function: Option<FunctionDelta>,
}

#[derive(Deserialize)]
struct FunctionDelta {
    name: Option<String>,
    arguments: Option<String>,
}

#[derive(Clone, Deserialize)]
pub(super) struct ServerUsage {
    pub prompt_tokens: usize,
    #[serde(default)]
    completion_tokens: usize,
    prompt_tokens_details: Option<PromptDetails>,
}

#[derive(Clone, Deserialize)]
struct PromptDetails {
    cached_tokens: Option<usize>,
}

/// What has come of an answer.
#[derive(Default)]
pub(super) struct Answer {
    reasoning: String,
    calls: Vec<Call>,
    finish: Option<(String, bool)>,
    usage: Option<ServerUsage>,
}

#[derive(Default)]
struct Call {
    id: Option<String>,
    name: String,
    arguments: String,
}

impl Answer {
    /// Takes a chunk; the events that it brings.
    ///
    /// # Errors
    /// What is not of OpenAI's form.
    pub fn push(&mut self, chunk: Chunk) -> Result<Vec<StreamEvent>, String> {
        let mut events = Vec::new();
        self.usage = chunk.usage.or(self.usage.take());
        let Some(choice) = chunk.choices.into_iter().next() else {
            return Ok(events);
        };
        let delta = choice.delta;
        for thought in [delta.reasoning_content, delta.reasoning]
            .into_iter()
            .flatten()
        {
            self.reasoning.push_str(&thought);
        }
        if let Some(text) = delta.content.filter(|text| !text.is_empty()) {
            events.extend(self.thought());
            events.push(StreamEvent::TextDelta(text));
        }
        for call in delta.tool_calls.into_iter().flatten() {
            self.call(call)?;
        }
        if let Some(reason) = choice.finish_reason {
            self.finish = Some((reason, choice.stop_reason.is_string()));
        }
        Ok(events)
    }

    /// The events of the end: what was held back until it was whole, and why it ended.
    ///
    /// # Errors
    /// Where the answer has no end, or no usage: tokens that nobody counted are not told.
    pub fn finish(mut self) -> Result<Vec<StreamEvent>, String> {
        let Some((reason, met_stop)) = self.finish.take() else {
            return Err("the answer broke off before its finish_reason".into());
        };
        let Some(usage) = self.usage.take() else {
            return Err(
                "the answer has no usage; the server does not follow stream_options.include_usage"
                    .into(),
            );
        };
        let mut events: Vec<StreamEvent> = self.thought().into_iter().collect();
        let mut stop_reason = match reason.as_str() {
            "stop" if !self.calls.is_empty() => StopReason::ToolUse,
            "stop" if met_stop => StopReason::StopSequence,
            "stop" => StopReason::EndTurn,
            "length" => StopReason::MaxTokens,
            "tool_calls" | "function_call" => StopReason::ToolUse,
            "content_filter" => StopReason::ContentFiltered,
            other => return Err(format!("expected a known finish_reason, got {other:?}")),
        };
        for (at, call) in self.calls.into_iter().enumerate() {
            let input = call.input();
            if !input.is_object() && stop_reason == StopReason::ToolUse {
                stop_reason = StopReason::MalformedToolUse;
            }
            events.push(StreamEvent::Block(ContentBlock::ToolUse(ToolUse {
                tool_use_id: call.id.unwrap_or_else(|| format!("tooluse_{at}")),
                name: call.name,
                input,
            })));
        }
        let cached = usage
            .prompt_tokens_details
            .and_then(|details| details.cached_tokens);
        events.push(StreamEvent::Done {
            stop_reason,
            usage: Usage {
                cache_read_input_tokens: cached.unwrap_or_default(),
                ..Usage::new(usage.prompt_tokens, usage.completion_tokens)
            },
        });
        Ok(events)
    }

    /// The thoughts so far as a block, where there are any.
    fn thought(&mut self) -> Option<StreamEvent> {
        let text = std::mem::take(&mut self.reasoning);
        (!text.is_empty()).then(|| {
            let words = ReasoningText {
                text,
                signature: None,
            };
            let block = ContentBlock::ReasoningContent(ReasoningContent::ReasoningText(words));
            StreamEvent::Block(block)
        })
    }

    fn call(&mut self, delta: CallDelta) -> Result<(), String> {
        if delta.index > self.calls.len() || delta.index >= MAX_CALLS {
            return Err(format!(
                "tool call {} before those ahead of it",
                delta.index
            ));
        }
        if delta.index == self.calls.len() {
            self.calls.push(Call::default());
        }
        let call = &mut self.calls[delta.index];
        call.id = delta.id.filter(|id| !id.is_empty()).or(call.id.take());
        if let Some(function) = delta.function {
            call.name.push_str(&function.name.unwrap_or_default());
            call.arguments
                .push_str(&function.arguments.unwrap_or_default());
        }
        Ok(())
    }
}

impl Call {
    /// The arguments: an object, or their text where they are none.
    fn input(&self) -> Value {
        if self.arguments.trim().is_empty() {
            return Value::Object(Default::default());
        }
        match serde_json::from_str(&self.arguments) {
            Ok(Value::Object(input)) => Value::Object(input),
            _ => Value::String(self.arguments.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn answer(chunks: &[Value]) -> Result<Vec<StreamEvent>, String> {
        let mut answer = Answer::default();
        let mut events = Vec::new();
        for chunk in chunks {
            events.extend(answer.push(serde_json::from_value(chunk.clone()).unwrap())?);
        }
        events.extend(answer.finish()?);
        Ok(events)
    }

    fn delta(delta: Value) -> Value {
        json!({"choices": [{"delta": delta, "finish_reason": null}]})
    }

    fn end(reason: &str) -> [Value; 2] {
        let usage = json!({"prompt_tokens": 5, "completion_tokens": 3,
            "prompt_tokens_details": {"cached_tokens": 2}});
        [
            json!({"choices": [{"delta": {}, "finish_reason": reason}]}),
            json!({"choices": [], "usage": usage}),
        ]
    }

    #[test]
    fn thoughts_come_before_the_text_and_calls_behind_it() {
        let chunks = [
            delta(json!({"role": "assistant", "content": ""})),
            delta(json!({"reasoning_content": "Hm"})),
            delta(json!({"reasoning_content": "m."})),
            delta(json!({"content": "Hi"})),
            delta(
                json!({"tool_calls": [{"index": 0, "id": "c1", "function": {"name": "sky", "arguments": ""}}]}),
            ),
            delta(json!({"tool_calls": [{"index": 0, "function": {"arguments": "{\"a\""}}]})),
            delta(json!({"tool_calls": [{"index": 0, "function": {"arguments": ": 1}"}}]})),
        ];
        let events = answer(&[&chunks[..], &end("tool_calls")[..]].concat()).unwrap();
        let shown = serde_json::to_value(&events).unwrap();
        assert_eq!(
            shown,
            json!([
                {"block": {"reasoningContent": {"reasoningText": {"text": "Hmm."}}}},
                {"textDelta": "Hi"},
                {"block": {"toolUse": {"toolUseId": "c1", "name": "sky", "input": {"a": 1}}}},
                {"done": {"stopReason": "tool_use", "usage":
                    {"inputTokens": 5, "outputTokens": 3, "totalTokens": 8, "cacheReadInputTokens": 2}}}
            ])
        );
    }

    #[test]
    fn ends_have_their_reasons() {
        let last = |chunks: &[Value]| match answer(chunks).unwrap().pop() {
            Some(StreamEvent::Done { stop_reason, .. }) => stop_reason,
            other => unreachable!("{other:?}"),
        };
        assert_eq!(last(&end("stop")), StopReason::EndTurn);
        assert_eq!(last(&end("length")), StopReason::MaxTokens);
        assert_eq!(last(&end("content_filter")), StopReason::ContentFiltered);
        let mut met = end("stop");
        met[0]["choices"][0]["stop_reason"] = json!("END");
        assert_eq!(last(&met), StopReason::StopSequence);
        let call = delta(
            json!({"tool_calls": [{"index": 0, "id": "c", "function": {"name": "x", "arguments": "{\"a"}}]}),
        );
        assert_eq!(
            last(&[&[call.clone()][..], &end("tool_calls")[..]].concat()),
            StopReason::MalformedToolUse
        );
        assert_eq!(
            last(&[&[call][..], &end("length")[..]].concat()),
            StopReason::MaxTokens
        );
        assert!(
            answer(&end("stop")[1..])
                .unwrap_err()
                .contains("finish_reason")
        );
        assert!(answer(&end("stop")[..1]).unwrap_err().contains("usage"));
        assert!(answer(&end("strange")).unwrap_err().contains("strange"));
    }
}
