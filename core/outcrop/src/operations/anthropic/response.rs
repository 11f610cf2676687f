//! The answer of `Converse` in Anthropic's format.

use outcrop_api::{Error, Result};
use serde_json::{Map, Value, json};

/// A fresh id of a message.
pub fn message_id() -> String {
    let letters = std::iter::repeat_with(fastrand::alphanumeric).take(24);
    format!("msg_{}", letters.collect::<String>())
}

/// The message that the members of a `Converse` answer are. `stops` are the request's stop sequences.
///
/// # Errors
/// `ModelErrorException` where the model's output has no form in this format.
pub fn message(
    output: &Map<String, Value>,
    id: &str,
    model: &str,
    stops: &[String],
) -> Result<Value> {
    let content = output
        .get("output")
        .and_then(|it| it.pointer("/message/content"));
    let content = content.and_then(Value::as_array).into_iter().flatten();
    let content: Result<Vec<Value>> = content.map(block).collect();
    let (reason, sequence) = stopped(output.get("stopReason"), stops)?;
    Ok(json!({
        "id": id,
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": content?,
        "stop_reason": reason,
        "stop_sequence": sequence,
        "usage": usage(output.get("usage")),
    }))
}

/// Token counts by Anthropic's names.
pub fn usage(usage: Option<&Value>) -> Value {
    let count = |name: &str| usage.and_then(|usage| usage[name].as_u64()).unwrap_or(0);
    json!({
        "input_tokens": count("inputTokens"),
        "output_tokens": count("outputTokens"),
        "cache_creation_input_tokens": count("cacheWriteInputTokens"),
        "cache_read_input_tokens": count("cacheReadInputTokens"),
    })
}

/// Why it stopped, and by which sequence where that is certain: the request gave one only.
pub(super) fn stopped(reason: Option<&Value>, stops: &[String]) -> Result<(Value, Value)> {
    let reason = reason.and_then(Value::as_str).unwrap_or_default();
    let sequence = match (reason, stops) {
        ("stop_sequence", [only]) => json!(only),
        _ => Value::Null,
    };
    let reason = match reason {
        "content_filtered" | "guardrail_intervened" => "refusal",
        "malformed_model_output" | "malformed_tool_use" => {
            return Err(Error::model(format!(
                "the model's output could not be read: {reason}"
            )));
        }
        reason => reason,
    };
    Ok((json!(reason), sequence))
}

fn block(block: &Value) -> Result<Value> {
    let member = block.as_object().and_then(|block| block.iter().next());
    match member.map(|(name, value)| (name.as_str(), value)) {
        Some(("text", text)) => Ok(json!({"type": "text", "text": text})),
        Some(("toolUse", call)) => Ok(json!({
            "type": "tool_use", "id": call["toolUseId"], "name": call["name"], "input": call["input"],
        })),
        Some(("reasoningContent", thought)) => Ok(match thought.get("redactedContent") {
            Some(data) => json!({"type": "redacted_thinking", "data": data}),
            None => json!({
                "type": "thinking",
                "thinking": thought["reasoningText"]["text"],
                "signature": thought["reasoningText"].get("signature").unwrap_or(&json!("")),
            }),
        }),
        Some(("citationsContent", cited)) => {
            let texts = cited["content"].as_array().into_iter().flatten();
            let texts = texts.filter_map(|part| part["text"].as_str());
            let citations = cited["citations"].as_array().into_iter().flatten();
            let citations: Vec<Value> = citations.map(citation).collect::<Result<_>>()?;
            Ok(json!({"type": "text", "text": texts.collect::<String>(), "citations": citations}))
        }
        _ => Err(Error::internal(format!(
            "a block has no form as a message: {block}"
        ))),
    }
}

/// A citation of a document's characters, the one kind that these requests lead to.
pub(super) fn citation(citation: &Value) -> Result<Value> {
    let Some(place) = citation.pointer("/location/documentChar") else {
        return Err(Error::internal(format!(
            "a citation has no form as Anthropic's: {citation}"
        )));
    };
    let words = citation["sourceContent"].as_array().into_iter().flatten();
    let words = words.filter_map(|part| part["text"].as_str());
    Ok(json!({
        "type": "char_location",
        "cited_text": words.collect::<String>(),
        "document_index": place["documentIndex"],
        "document_title": citation["title"],
        "start_char_index": place["start"],
        "end_char_index": place["end"],
    }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    #[test]
    fn an_answer_becomes_a_message() {
        let Value::Object(output) = json!({
            "output": {"message": {"role": "assistant", "content": [
                {"reasoningContent": {"reasoningText": {"text": "hm"}}},
                {"text": "Hi"},
                {"toolUse": {"toolUseId": "t", "name": "f", "input": {}}},
            ]}},
            "stopReason": "stop_sequence",
            "usage": {"inputTokens": 2, "outputTokens": 3, "totalTokens": 5},
        }) else {
            panic!("an object");
        };
        let told = message(&output, "msg_1", "m", &["x".to_string()]).unwrap();
        assert_eq!(
            told,
            json!({
                "id": "msg_1", "type": "message", "role": "assistant", "model": "m",
                "content": [
                    {"type": "thinking", "thinking": "hm", "signature": ""},
                    {"type": "text", "text": "Hi"},
                    {"type": "tool_use", "id": "t", "name": "f", "input": {}}],
                "stop_reason": "stop_sequence", "stop_sequence": "x",
                "usage": {"input_tokens": 2, "output_tokens": 3,
                          "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0},
            })
        );
        assert_eq!(
            message(&output, "", "", &[]).unwrap()["stop_sequence"],
            Value::Null
        );
    }
}
