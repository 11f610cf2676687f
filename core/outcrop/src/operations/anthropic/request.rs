//! A request in Anthropic's format as the members of `Converse`.

use outcrop_api::{Error, Result};
use serde_json::{Map, Value, json};

use super::blocks;
use crate::operations::Members;

/// The members of `Converse`, save the model's id, of a request in Anthropic's format. What says how
/// the answer is sent, such as `model` and `stream`, is for the caller to take out before.
///
/// # Errors
/// `ValidationException` that names a field which is wrong or not supported.
pub fn converse_input(mut body: Members) -> Result<Map<String, Value>> {
    let mut input = Map::new();
    input.insert("messages".into(), messages(&mut body)?);
    if let Some(system) = body.take("system") {
        input.insert("system".into(), blocks::system(system)?);
    }
    input.insert("inferenceConfig".into(), inference(&mut body)?);
    if let Some(tools) = tools(&mut body)? {
        input.insert("toolConfig".into(), tools);
    }
    let mut fields = Map::new();
    for name in ["top_k", "thinking", "output_config"] {
        fields.extend(body.take(name).map(|value| (name.to_string(), value)));
    }
    if !fields.is_empty() {
        input.insert("additionalModelRequestFields".into(), fields.into());
    }
    if let Some(metadata) = body.take("metadata") {
        let mut metadata = Members::of(metadata, "metadata")?;
        if let Some(user) = metadata.read::<String>("user_id")? {
            input.insert("requestMetadata".into(), json!({ "user_id": user }));
        }
        metadata.end()?;
    }
    body.only("service_tier", &[json!("auto"), json!("standard_only")])?;
    body.only("anthropic_beta", &[json!([])])?;
    body.end()?;
    Ok(input)
}

fn messages(body: &mut Members) -> Result<Value> {
    let messages: Vec<Value> = body.required("messages")?;
    let messages = messages.into_iter().enumerate().map(|(at, message)| {
        let place = format!("messages.{at}");
        let mut message = Members::of(message, &place)?;
        let role: String = message.required("role")?;
        if role != "user" && role != "assistant" {
            return Err(Error::validation(format!(
                "{place}.role: expected \"user\" or \"assistant\", got {role:?}"
            )));
        }
        let content: Value = message.required("content")?;
        let content = blocks::content(content, &format!("{place}.content"))?;
        message.end()?;
        Ok(json!({ "role": role, "content": content }))
    });
    messages.collect()
}

fn inference(body: &mut Members) -> Result<Value> {
    let mut config = Map::new();
    config.insert(
        "maxTokens".into(),
        body.required::<u64>("max_tokens")?.into(),
    );
    if let Some(temperature) = body.read::<f64>("temperature")? {
        config.insert("temperature".into(), temperature.into());
    }
    if let Some(top_p) = body.read::<f64>("top_p")? {
        config.insert("topP".into(), top_p.into());
    }
    if let Some(stops) = body.read::<Vec<String>>("stop_sequences")? {
        config.insert("stopSequences".into(), stops.into());
    }
    Ok(config.into())
}

fn tools(body: &mut Members) -> Result<Option<Value>> {
    let tools: Vec<Value> = body.read("tools")?.unwrap_or_default();
    let choice = tool_choice(body)?;
    let mut specs = Vec::new();
    for (at, tool) in tools.into_iter().enumerate() {
        let mut tool = Members::of(tool, &format!("tools.{at}"))?;
        tool.only("type", &[json!("custom")])?;
        let mut spec = json!({
            "name": tool.required::<String>("name")?,
            "inputSchema": {"json": tool.required::<Value>("input_schema")?},
        });
        // Converse takes no empty description.
        let description = tool.read::<String>("description")?;
        if let Some(description) = description.filter(|text| !text.is_empty()) {
            spec["description"] = description.into();
        }
        if let Some(strict) = tool.read::<bool>("strict")? {
            spec["strict"] = strict.into();
        }
        specs.push(json!({ "toolSpec": spec }));
        specs.extend(blocks::cache_point(&mut tool)?);
        tool.end()?;
    }
    match (specs.is_empty(), choice) {
        // With no tools to choose from, nothing is called.
        (_, Choice::Nothing) | (true, Choice::Unsaid) => Ok(None),
        (true, Choice::Said(_)) => Err(Error::validation(
            "tool_choice: may only be specified while providing tools",
        )),
        (false, Choice::Unsaid) => Ok(Some(json!({ "tools": specs }))),
        (false, Choice::Said(choice)) => Ok(Some(json!({ "tools": specs, "toolChoice": choice }))),
    }
}

enum Choice {
    Unsaid,
    Nothing,
    Said(Value),
}

fn tool_choice(body: &mut Members) -> Result<Choice> {
    let Some(choice) = body.take("tool_choice") else {
        return Ok(Choice::Unsaid);
    };
    let mut choice = Members::of(choice, "tool_choice")?;
    let kind: String = choice.required("type")?;
    let said = match kind.as_str() {
        "auto" => Choice::Said(json!({"auto": {}})),
        "any" => Choice::Said(json!({"any": {}})),
        "none" => Choice::Nothing,
        "tool" => {
            let name: String = choice.required("name")?;
            Choice::Said(json!({"tool": {"name": name}}))
        }
        other => {
            return Err(Error::validation(format!(
                "tool_choice.type: expected auto, any, tool or none, got {other:?}"
            )));
        }
    };
    choice.only("disable_parallel_tool_use", &[json!(false)])?;
    choice.end()?;
    Ok(said)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn input(body: Value) -> Result<Value> {
        converse_input(Members::of(body, "")?).map(Value::Object)
    }

    #[test]
    fn a_whole_request_becomes_converse() {
        let body = json!({
            "max_tokens": 9, "temperature": 0.5, "top_k": 3, "stop_sequences": ["x"],
            "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
            "messages": [
                {"role": "user", "content": "Hi"},
                {"role": "assistant", "content": [
                    {"type": "thinking", "thinking": "hm", "signature": "s"},
                    {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": 1}}]},
                {"role": "user", "content": [
                    {"type": "tool_result", "tool_use_id": "t1", "is_error": true, "content": "no"}]},
            ],
            "tools": [{"name": "f", "description": "d", "input_schema": {"type": "object"}}],
            "tool_choice": {"type": "any"}, "metadata": {"user_id": "u"},
        });
        let expected = json!({
            "messages": [
                {"role": "user", "content": [{"text": "Hi"}]},
                {"role": "assistant", "content": [
                    {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "s"}}},
                    {"toolUse": {"toolUseId": "t1", "name": "f", "input": {"a": 1}}}]},
                {"role": "user", "content": [
                    {"toolResult": {"toolUseId": "t1", "content": [{"text": "no"}], "status": "error"}}]},
            ],
            "system": [{"text": "Be brief."}, {"cachePoint": {"type": "default"}}],
            "inferenceConfig": {"maxTokens": 9, "temperature": 0.5, "stopSequences": ["x"]},
            "toolConfig": {
                "tools": [{"toolSpec": {"name": "f", "inputSchema": {"json": {"type": "object"}}, "description": "d"}}],
                "toolChoice": {"any": {}}},
            "additionalModelRequestFields": {"top_k": 3},
            "requestMetadata": {"user_id": "u"},
        });
        assert_eq!(input(body).unwrap(), expected);
    }

    #[test]
    fn what_is_not_honoured_is_refused_by_name() {
        let with = |name: &str, value: Value| {
            let mut body =
                json!({"max_tokens": 1, "messages": [{"role": "user", "content": "Hi"}]});
            body[name] = value;
            input(body).unwrap_err().message().to_string()
        };
        for (name, value, begins) in [
            (
                "container",
                json!("c"),
                "container: Extra inputs are not permitted",
            ),
            ("max_tokens", json!(null), "max_tokens: Field required"),
            ("max_tokens", json!("1"), "max_tokens: invalid type"),
            (
                "tools",
                json!([{"type": "web_search_20250305", "name": "w"}]),
                "tools.0.type: \"web_search",
            ),
            (
                "tool_choice",
                json!({"type": "auto"}),
                "tool_choice: may only",
            ),
            (
                "messages",
                json!([{"role": "system", "content": "x"}]),
                "messages.0.role: expected",
            ),
            (
                "messages",
                json!([{"role": "user", "content": [{"type": "image", "source": {"type": "url", "url": "u"}}]}]),
                "messages.0.content.0.source.type: expected \"base64\"",
            ),
            (
                "messages",
                json!([{"role": "user", "content": [{"type": "container_upload"}]}]),
                "messages.0.content.0.type: \"container_upload\" is not supported",
            ),
        ] {
            let message = with(name, value);
            assert!(message.starts_with(begins), "{message}");
        }
    }

    #[test]
    fn a_choice_of_no_tool_leaves_the_tools_out() {
        let body = json!({"max_tokens": 1, "messages": [], "tool_choice": {"type": "none"},
            "tools": [{"name": "f", "input_schema": {}}]});
        assert!(input(body).unwrap().get("toolConfig").is_none());
    }
}
