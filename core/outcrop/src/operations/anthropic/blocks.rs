//! Content blocks of Anthropic's format as those of `Converse`.

use outcrop_api::{Error, Result};
use serde_json::{Value, json};

use crate::operations::Members;

/// The blocks of a message's content: a text, or a list.
pub(super) fn content(content: Value, place: &str) -> Result<Vec<Value>> {
    each(content, place, block)
}

/// The parts of the system text.
pub(super) fn system(content: Value) -> Result<Value> {
    let parts = each(content, "system", |kind, block| match kind {
        "text" => text(block),
        other => Err(unsupported(block, other)),
    });
    parts.map(Value::Array)
}

/// The cache point that a block's `cache_control` asks for behind it.
pub(super) fn cache_point(block: &mut Members) -> Result<Option<Value>> {
    let place = block.place("cache_control");
    let Some(control) = block.take("cache_control") else {
        return Ok(None);
    };
    let mut control = Members::of(control, &place)?;
    control.only("type", &[json!("ephemeral")])?;
    let mut point = json!({"type": "default"});
    if let Some(ttl) = control.read::<String>("ttl")? {
        point["ttl"] = ttl.into();
    }
    control.end()?;
    Ok(Some(json!({ "cachePoint": point })))
}

fn each(
    content: Value,
    place: &str,
    read: impl Fn(&str, &mut Members) -> Result<Value>,
) -> Result<Vec<Value>> {
    let blocks = match content {
        Value::String(text) => return Ok(vec![json!({ "text": text })]),
        Value::Array(blocks) => blocks,
        other => {
            return Err(Error::validation(format!(
                "{place}: expected a text or a list of blocks, got {other}"
            )));
        }
    };
    let mut read_blocks = Vec::with_capacity(blocks.len());
    for (at, block) in blocks.into_iter().enumerate() {
        let mut block = Members::of(block, &format!("{place}.{at}"))?;
        let kind: String = block.required("type")?;
        read_blocks.push(read(&kind, &mut block)?);
        read_blocks.extend(cache_point(&mut block)?);
        block.end()?;
    }
    Ok(read_blocks)
}

fn block(kind: &str, block: &mut Members) -> Result<Value> {
    match kind {
        "text" => text(block),
        "image" => image(block),
        "document" => document(block),
        "tool_use" => Ok(json!({"toolUse": {
            "toolUseId": block.required::<String>("id")?,
            "name": block.required::<String>("name")?,
            "input": block.required::<Value>("input")?,
        }})),
        "tool_result" => tool_result(block),
        "thinking" => {
            let mut thought = json!({"text": block.required::<String>("thinking")?});
            let signature = block.read::<String>("signature")?;
            if let Some(signature) = signature.filter(|text| !text.is_empty()) {
                thought["signature"] = signature.into();
            }
            Ok(json!({"reasoningContent": {"reasoningText": thought}}))
        }
        "redacted_thinking" => Ok(json!({"reasoningContent": {
            "redactedContent": block.required::<String>("data")?,
        }})),
        other => Err(unsupported(block, other)),
    }
}

fn text(block: &mut Members) -> Result<Value> {
    // What an answer carried is sent back with it; it says nothing new.
    block.take("citations");
    Ok(json!({"text": block.required::<String>("text")?}))
}

fn tool_result(block: &mut Members) -> Result<Value> {
    let place = block.place("content");
    let content = match block.take("content") {
        None => Vec::new(),
        Some(content) => each(content, &place, |kind, block| match kind {
            "text" => text(block),
            "image" => image(block),
            "document" => document(block),
            other => Err(unsupported(block, other)),
        })?,
    };
    let mut result = json!({
        "toolUseId": block.required::<String>("tool_use_id")?,
        "content": content,
    });
    if let Some(is_error) = block.read::<bool>("is_error")? {
        result["status"] = if is_error { "error" } else { "success" }.into();
    }
    Ok(json!({ "toolResult": result }))
}

fn image(block: &mut Members) -> Result<Value> {
    let (media_type, data) = bytes(block)?;
    let format = media_type.strip_prefix("image/").unwrap_or(&media_type);
    Ok(json!({"image": {"format": format, "source": {"bytes": data}}}))
}

fn document(block: &mut Members) -> Result<Value> {
    let title = block.read::<String>("title")?;
    let mut document = json!({"name": title.as_deref().unwrap_or("document")});
    if let Some(context) = block.read::<String>("context")? {
        document["context"] = context.into();
    }
    if let Some(citations) = block.take("citations") {
        document["citations"] = citations;
    }
    let (media_type, data) = bytes(block)?;
    let (format, source) = match media_type.as_str() {
        "application/pdf" => ("pdf", json!({ "bytes": data })),
        "text/plain" => ("txt", json!({ "text": data })),
        other => {
            return Err(Error::validation(format!(
                "{}: expected application/pdf or text/plain, got {other:?}",
                block.place("source.media_type")
            )));
        }
    };
    document["format"] = format.into();
    document["source"] = source;
    Ok(json!({ "document": document }))
}

/// A source's media type and its data: base64, or plain text where that is its type.
fn bytes(block: &mut Members) -> Result<(String, String)> {
    let place = block.place("source");
    let mut source = Members::of(block.required("source")?, &place)?;
    let kind: String = source.required("type")?;
    let media_type: String = source.read("media_type")?.unwrap_or_default();
    let is_text = media_type == "text/plain";
    if kind != if is_text { "text" } else { "base64" } {
        let expected = if is_text { "text" } else { "base64" };
        return Err(Error::validation(format!(
            "{place}.type: expected {expected:?}, got {kind:?}: nothing is fetched from elsewhere"
        )));
    }
    let data = source.required("data")?;
    source.end()?;
    Ok((media_type, data))
}

fn unsupported(block: &Members, kind: &str) -> Error {
    Error::validation(format!(
        "{}: {kind:?} is not supported here",
        block.place("type")
    ))
}
