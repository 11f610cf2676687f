//! What the result of an MCP tool comes to.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use outcrop_agents::{Outcome, digest};
use rmcp::model::{CallToolResult, ContentBlock, ResourceContents};
use serde_json::{Value, json};

/// The outcome of a call that gave `result`: its structured content, or its text, or its blocks. What
/// is no text is named and not shown: type, size, SHA-256.
pub(super) fn outcome(result: CallToolResult) -> Outcome {
    let mut blocks: Vec<Value> = result.content.iter().map(block).collect();
    let is_error = result.is_error == Some(true);
    if let Some(structured) = result.structured_content {
        blocks.retain(|block| !says(&structured, block));
        let value = match blocks.is_empty() {
            true => structured,
            false => json!({"structuredContent": structured, "content": blocks}),
        };
        return of(value, is_error);
    }
    let value = match blocks.len() {
        // A structured result as such: policies look at its members.
        1 => match blocks.remove(0) {
            Value::String(text) => match serde_json::from_str(&text) {
                Ok(value @ (Value::Object(_) | Value::Array(_))) => value,
                _ => Value::String(text),
            },
            named => named,
        },
        _ => Value::Array(blocks),
    };
    of(value, is_error)
}

fn of(value: Value, is_error: bool) -> Outcome {
    match (is_error, value) {
        (false, value) => Outcome::Returned(value),
        (true, Value::String(error)) => Outcome::Failed { error },
        (true, value) => Outcome::Failed {
            error: value.to_string(),
        },
    }
}

/// Whether structured content says what the text `block` says: servers give it in both forms.
fn says(structured: &Value, block: &Value) -> bool {
    let Some(text) = block.as_str() else {
        return false;
    };
    let parsed: Option<Value> = serde_json::from_str(text).ok();
    let is_it = |value: &Value| value.as_str() == Some(text) || parsed.as_ref() == Some(value);
    let members = structured.as_object().into_iter().flatten();
    is_it(structured)
        || members.map(|(_, member)| member).any(|member| {
            let items = member.as_array().into_iter().flatten();
            is_it(member) || items.into_iter().any(is_it)
        })
}

fn block(block: &ContentBlock) -> Value {
    match block {
        ContentBlock::Text(text) => Value::String(text.text.clone()),
        ContentBlock::Image(image) => named("image", &image.mime_type, None, &image.data),
        ContentBlock::Audio(audio) => named("audio", &audio.mime_type, None, &audio.data),
        ContentBlock::ResourceLink(link) => json!({
            "type": "resource_link",
            "uri": link.uri,
            "name": link.name,
            "note": "named only: it was not read",
        }),
        ContentBlock::Resource(embedded) => match &embedded.resource {
            ResourceContents::TextResourceContents { uri, text, .. } => {
                json!({"type": "resource", "uri": uri, "text": text})
            }
            ResourceContents::BlobResourceContents {
                uri,
                mime_type,
                blob,
                ..
            } => named(
                "resource",
                mime_type.as_deref().unwrap_or("application/octet-stream"),
                Some(uri),
                blob,
            ),
            _ => unknown(block),
        },
        _ => unknown(block),
    }
}

fn named(kind: &str, mime_type: &str, uri: Option<&str>, data: &str) -> Value {
    let bytes = STANDARD.decode(data).unwrap_or_else(|_| data.into());
    let mut named = json!({
        "type": kind,
        "mimeType": mime_type,
        "bytes": bytes.len(),
        "sha256": digest::of_bytes(&bytes),
        "note": "named only: its content is not shown",
    });
    if let Some(uri) = uri {
        named["uri"] = json!(uri);
    }
    named
}

fn unknown(block: &ContentBlock) -> Value {
    serde_json::to_value(block).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    fn came(result: Value) -> Outcome {
        outcome(serde_json::from_value(result).unwrap())
    }

    fn text(text: &str) -> Value {
        json!({"type": "text", "text": text})
    }

    #[test]
    fn a_result_is_its_structure_its_text_or_its_named_parts() {
        let both = json!({"content": [text("{\"limit\": 5}")], "structuredContent": {"limit": 5}});
        assert_eq!(came(both), Outcome::Returned(json!({"limit": 5})));
        let wrapped = json!({"content": [text("five")], "structuredContent": {"result": "five"}});
        assert_eq!(came(wrapped), Outcome::Returned(json!({"result": "five"})));
        let more = json!({"content": [text("Call them.")], "structuredContent": {"limit": 5}});
        assert_eq!(
            came(more),
            Outcome::Returned(
                json!({"structuredContent": {"limit": 5}, "content": ["Call them."]})
            )
        );
        assert_eq!(
            came(json!({"content": [text("{\"limit\": 5}")]})),
            Outcome::Returned(json!({"limit": 5}))
        );
        assert_eq!(
            came(json!({"content": [text("no such user")], "isError": true})),
            Outcome::Failed {
                error: "no such user".into()
            }
        );
        assert_eq!(came(json!({"content": []})), Outcome::Returned(json!([])));
        let image = json!({"content": [text("A chart:"),
            {"type": "image", "data": "AAEC", "mimeType": "image/png"}]});
        let Outcome::Returned(Value::Array(blocks)) = came(image) else {
            panic!("expected blocks");
        };
        assert_eq!(blocks[0], "A chart:");
        assert_eq!(blocks[1]["bytes"], 3);
        assert_eq!(blocks[1]["mimeType"], "image/png");
        assert!(!blocks[1].to_string().contains("AAEC"));
    }
}
