//! The messages of a chat completion as those of `Converse`.

use outcrop_api::{Error, Result};
use serde_json::{Value, json};

use crate::operations::Members;

/// The parts of the system text, and the turns: neighbours of one role are one turn, and what a tool
/// gave back is the user's.
pub(super) fn conversation(messages: Vec<Value>) -> Result<(Vec<Value>, Value)> {
    let mut system = Vec::new();
    let mut turns: Vec<(&str, Vec<Value>)> = Vec::new();
    for (at, message) in messages.into_iter().enumerate() {
        let place = format!("messages.{at}");
        let mut message = Members::of(message, &place)?;
        let role: String = message.required("role")?;
        let (role, blocks) = match role.as_str() {
            "system" | "developer" if turns.is_empty() => {
                system.extend(content(&mut message)?);
                message.end()?;
                continue;
            }
            "user" => ("user", content(&mut message)?),
            "assistant" => ("assistant", assistant(&mut message)?),
            "tool" => ("user", vec![tool_result(&mut message)?]),
            other => {
                return Err(Error::validation(format!(
                    "{place}.role: expected user, assistant or tool, or first of all system, got \
                     {other:?}"
                )));
            }
        };
        message.end()?;
        match turns.last_mut() {
            Some((last, turn)) if *last == role => turn.extend(blocks),
            _ => turns.push((role, blocks)),
        }
    }
    let turns = turns.into_iter();
    let turns = turns.map(|(role, content)| json!({ "role": role, "content": content }));
    Ok((system, turns.collect()))
}

/// The blocks of a message's content: a text, or a list of parts.
fn content(message: &mut Members) -> Result<Vec<Value>> {
    let place = message.place("content");
    let parts = match message.take("content") {
        None => return Ok(Vec::new()),
        Some(Value::String(text)) => return Ok(vec![json!({ "text": text })]),
        Some(Value::Array(parts)) => parts,
        Some(other) => {
            return Err(Error::validation(format!(
                "{place}: expected a text or a list of parts, got {other}"
            )));
        }
    };
    let parts = parts.into_iter().enumerate();
    let parts = parts.map(|(at, part)| {
        let mut part = Members::of(part, &format!("{place}.{at}"))?;
        let kind: String = part.required("type")?;
        let block = match kind.as_str() {
            "text" => json!({"text": part.required::<String>("text")?}),
            "refusal" => json!({"text": part.required::<String>("refusal")?}),
            "image_url" => image(&mut part)?,
            "file" => file(&mut part)?,
            other => {
                let place = part.place("type");
                return Err(Error::validation(format!(
                    "{place}: {other:?} is not supported here"
                )));
            }
        };
        part.end()?;
        Ok(block)
    });
    parts.collect()
}

fn assistant(message: &mut Members) -> Result<Vec<Value>> {
    let mut blocks = content(message)?;
    // Beside calls, clients send an empty text for none.
    blocks.retain(|block| block["text"] != "");
    if let Some(refusal) = message.read::<String>("refusal")? {
        blocks.push(json!({ "text": refusal }));
    }
    let calls: Vec<Value> = message.read("tool_calls")?.unwrap_or_default();
    let place = message.place("tool_calls");
    for (at, call) in calls.into_iter().enumerate() {
        let place = format!("{place}.{at}");
        let mut call = Members::of(call, &place)?;
        call.only("type", &[json!("function")])?;
        // A stream's place among the calls, which some clients keep.
        call.take("index");
        let id: String = call.required("id")?;
        let mut function = Members::of(call.required("function")?, &format!("{place}.function"))?;
        let name: String = function.required("name")?;
        let arguments: String = function.required("arguments")?;
        let input: Value = match arguments.trim() {
            "" => json!({}),
            text => serde_json::from_str(text).map_err(|error| {
                let place = function.place("arguments");
                Error::validation(format!("{place}: expected JSON: {error}, got {text}"))
            })?,
        };
        function.end()?;
        call.end()?;
        blocks.push(json!({"toolUse": {"toolUseId": id, "name": name, "input": input}}));
    }
    Ok(blocks)
}

fn tool_result(message: &mut Members) -> Result<Value> {
    let id: String = message.required("tool_call_id")?;
    let mut blocks = content(message)?;
    blocks.retain(|block| block["text"] != "");
    Ok(json!({"toolResult": {"toolUseId": id, "content": blocks}}))
}

fn image(part: &mut Members) -> Result<Value> {
    let place = part.place("image_url");
    let mut image = Members::of(part.required("image_url")?, &place)?;
    image.only("detail", &[json!("auto")])?;
    let url: String = image.required("url")?;
    image.end()?;
    let (media_type, data) = data_address(&url, &format!("{place}.url"))?;
    let format = media_type.strip_prefix("image/").unwrap_or(media_type);
    Ok(json!({"image": {"format": format, "source": {"bytes": data}}}))
}

fn file(part: &mut Members) -> Result<Value> {
    let place = part.place("file");
    let mut file = Members::of(part.required("file")?, &place)?;
    let name: String = file.read("filename")?.unwrap_or_else(|| "document".into());
    let address: String = file.required("file_data")?;
    file.end()?;
    let (media_type, data) = data_address(&address, &format!("{place}.file_data"))?;
    let (stem, extension) = name.rsplit_once('.').unwrap_or((&name, ""));
    let format = match media_type {
        "application/pdf" => "pdf",
        _ => extension,
    };
    Ok(json!({"document": {"name": stem, "format": format, "source": {"bytes": data}}}))
}

/// The media type and the base64 data of a `data:` address.
fn data_address<'a>(address: &'a str, place: &str) -> Result<(&'a str, &'a str)> {
    let data = address
        .strip_prefix("data:")
        .and_then(|rest| rest.split_once(";base64,"));
    data.ok_or_else(|| {
        let shown: String = address.chars().take(40).collect();
        Error::validation(format!(
            "{place}: expected a data: address with base64, got {shown:?}: nothing is fetched from \
             elsewhere"
        ))
    })
}
