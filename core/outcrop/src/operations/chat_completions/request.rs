//! A request for a chat completion as the members of `Converse`.

use outcrop_api::{Error, Result};
use serde_json::{Map, Value, json};

use super::messages::conversation;
use crate::operations::Members;

/// The members of `Converse`, save the model's id, of a request for a chat completion. What says how
/// the answer is sent, such as `model` and `stream`, is for the caller to take out before.
///
/// # Errors
/// `ValidationException` that names a field which is wrong or not supported.
pub fn converse_input(mut body: Members) -> Result<Map<String, Value>> {
    let (system, messages) = conversation(body.required("messages")?)?;
    let mut input = Map::new();
    input.insert("messages".into(), messages);
    if !system.is_empty() {
        input.insert("system".into(), system.into());
    }
    input.insert("inferenceConfig".into(), inference(&mut body)?);
    if let Some(tools) = tools(&mut body)? {
        input.insert("toolConfig".into(), tools);
    }
    if let Some(format) = response_format(&mut body)? {
        input.insert("outputConfig".into(), format);
    }
    let mut fields = Map::new();
    for name in [
        "seed",
        "top_k",
        "min_p",
        "repetition_penalty",
        "chat_template_kwargs",
    ] {
        fields.extend(body.take(name).map(|value| (name.to_string(), value)));
    }
    if let Some(most_likely) = logprobs(&mut body)? {
        fields.insert("logprobs".into(), most_likely.into());
        input.insert(
            "additionalModelResponseFieldPaths".into(),
            json!(["/logprobs"]),
        );
    }
    if !fields.is_empty() {
        input.insert("additionalModelRequestFields".into(), fields.into());
    }
    let metadata = metadata(&mut body)?;
    if !metadata.is_empty() {
        input.insert("requestMetadata".into(), metadata.into());
    }
    match body.read::<String>("service_tier")?.as_deref() {
        None | Some("auto" | "default") => {}
        Some(tier) => drop(input.insert("serviceTier".into(), json!({ "type": tier }))),
    }
    harmless(&mut body)?;
    body.end()?;
    Ok(input)
}

/// Fields that are taken only where they ask for nothing.
fn harmless(body: &mut Members) -> Result<()> {
    body.only("n", &[json!(1)])?;
    body.only("presence_penalty", &[json!(0), json!(0.0)])?;
    body.only("frequency_penalty", &[json!(0), json!(0.0)])?;
    body.only("logit_bias", &[json!({})])?;
    body.only("parallel_tool_calls", &[json!(true)])?;
    body.only("store", &[json!(false)])?;
    body.only("modalities", &[json!(["text"])])
}

/// How many of the most likely tokens are told beside each one, where log-probabilities are asked for.
fn logprobs(body: &mut Members) -> Result<Option<u64>> {
    let is_asked = body.read("logprobs")?.unwrap_or(false);
    match (is_asked, body.read::<u64>("top_logprobs")?) {
        (true, most_likely) => Ok(Some(most_likely.unwrap_or(0))),
        (false, None | Some(0)) => Ok(None),
        (false, Some(_)) => Err(Error::validation(
            "top_logprobs: expected logprobs: true beside it",
        )),
    }
}

fn inference(body: &mut Members) -> Result<Value> {
    let mut config = Map::new();
    let old = body.read::<u64>("max_tokens")?;
    if let Some(tokens) = body.read::<u64>("max_completion_tokens")?.or(old) {
        config.insert("maxTokens".into(), tokens.into());
    }
    for (name, member) in [("temperature", "temperature"), ("top_p", "topP")] {
        let number = body.read::<f64>(name)?;
        config.extend(number.map(|number| (member.to_string(), number.into())));
    }
    match body.take("stop") {
        None => {}
        Some(Value::String(stop)) => drop(config.insert("stopSequences".into(), json!([stop]))),
        Some(stops @ Value::Array(_)) => drop(config.insert("stopSequences".into(), stops)),
        Some(other) => {
            return Err(Error::validation(format!(
                "stop: expected a text or a list of texts, got {other}"
            )));
        }
    }
    Ok(config.into())
}

fn tools(body: &mut Members) -> Result<Option<Value>> {
    let tools: Vec<Value> = body.read("tools")?.unwrap_or_default();
    let mut specs = Vec::with_capacity(tools.len());
    for (at, tool) in tools.into_iter().enumerate() {
        let place = format!("tools.{at}");
        let mut tool = Members::of(tool, &place)?;
        tool.only("type", &[json!("function")])?;
        let mut function = Members::of(tool.required("function")?, &format!("{place}.function"))?;
        tool.end()?;
        // A function without parameters takes none.
        let schema = function.read::<Value>("parameters")?;
        let schema = schema.unwrap_or_else(|| json!({"type": "object", "properties": {}}));
        let mut spec = json!({
            "name": function.required::<String>("name")?, "inputSchema": {"json": schema},
        });
        let description = function.read::<String>("description")?;
        if let Some(description) = description.filter(|text| !text.is_empty()) {
            spec["description"] = description.into();
        }
        if let Some(strict) = function.read::<bool>("strict")? {
            spec["strict"] = strict.into();
        }
        function.end()?;
        specs.push(json!({ "toolSpec": spec }));
    }
    let choice = body.take("tool_choice");
    if specs.is_empty() {
        return match choice {
            None => Ok(None),
            Some(choice) if choice == "none" || choice == "auto" => Ok(None),
            Some(choice) => Err(Error::validation(format!(
                "tool_choice: {choice} needs tools, and there are none"
            ))),
        };
    }
    let choice = match choice {
        None => return Ok(Some(json!({ "tools": specs }))),
        // With no tools to choose from, nothing is called.
        Some(choice) if choice == "none" => return Ok(None),
        Some(choice) => tool_choice(choice)?,
    };
    Ok(Some(json!({ "tools": specs, "toolChoice": choice })))
}

fn tool_choice(choice: Value) -> Result<Value> {
    match choice.as_str() {
        Some("auto") => return Ok(json!({"auto": {}})),
        // Mistral's word for it is `any`.
        Some("required" | "any") => return Ok(json!({"any": {}})),
        _ => {}
    }
    let name = choice.pointer("/function/name").and_then(Value::as_str);
    match name {
        Some(name) if choice["type"] == "function" => Ok(json!({"tool": {"name": name}})),
        _ => Err(Error::validation(format!(
            "tool_choice: expected none, auto, required or a function's name, got {choice}"
        ))),
    }
}

/// What `response_format` asks for, as `outputConfig`.
fn response_format(body: &mut Members) -> Result<Option<Value>> {
    let Some(format) = body.take("response_format") else {
        return Ok(None);
    };
    let mut format = Members::of(format, "response_format")?;
    let kind: String = format.required("type")?;
    let mut asked = json!({});
    let schema = match kind.as_str() {
        "text" => {
            format.end()?;
            return Ok(None);
        }
        // Any object.
        "json_object" => json!({"type": "object", "additionalProperties": true}),
        "json_schema" => {
            let place = format.place("json_schema");
            let mut named = Members::of(format.required("json_schema")?, &place)?;
            for name in ["name", "description"] {
                if let Some(text) = named.read::<String>(name)? {
                    asked[name] = text.into();
                }
            }
            // The schema is kept to in any case.
            named.read::<bool>("strict")?;
            let schema = named.required("schema")?;
            named.end()?;
            schema
        }
        other => {
            return Err(Error::validation(format!(
                "response_format.type: expected text, json_object or json_schema, got {other:?}"
            )));
        }
    };
    format.end()?;
    asked["schema"] = schema.to_string().into();
    Ok(Some(json!({
        "textFormat": {"type": "json_schema", "structure": {"jsonSchema": asked}},
    })))
}

/// What is kept with the call's record.
fn metadata(body: &mut Members) -> Result<Map<String, Value>> {
    let mut metadata: Map<String, Value> = body.read("metadata")?.unwrap_or_default();
    for name in ["user", "safety_identifier"] {
        if let Some(text) = body.read::<String>(name)? {
            metadata.insert(name.into(), text.into());
        }
    }
    Ok(metadata)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_whole_request_becomes_converse() {
        let body = json!({
            "max_completion_tokens": 9, "stop": "x", "seed": 7, "user": "u",
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": [
                    {"type": "text", "text": "Hi"},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]},
                {"role": "assistant", "content": null, "tool_calls": [
                    {"id": "t1", "type": "function", "function": {"name": "f", "arguments": "{\"a\":1}"}}]},
                {"role": "tool", "tool_call_id": "t1", "content": "2"},
                {"role": "user", "content": "And?"},
            ],
            "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
            "tool_choice": {"type": "function", "function": {"name": "f"}},
            "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}},
        });
        let input = converse_input(Members::of(body, "").unwrap()).unwrap();
        assert_eq!(
            Value::Object(input),
            json!({
                "messages": [
                    {"role": "user", "content": [
                        {"text": "Hi"}, {"image": {"format": "png", "source": {"bytes": "AAAA"}}}]},
                    {"role": "assistant", "content": [
                        {"toolUse": {"toolUseId": "t1", "name": "f", "input": {"a": 1}}}]},
                    {"role": "user", "content": [
                        {"toolResult": {"toolUseId": "t1", "content": [{"text": "2"}]}}, {"text": "And?"}]},
                ],
                "system": [{"text": "Be brief."}],
                "inferenceConfig": {"maxTokens": 9, "stopSequences": ["x"]},
                "toolConfig": {
                    "tools": [{"toolSpec": {"name": "f", "inputSchema": {"json": {"type": "object"}}}}],
                    "toolChoice": {"tool": {"name": "f"}}},
                "outputConfig": {"textFormat": {"type": "json_schema", "structure": {
                    "jsonSchema": {"name": "n", "schema": "{\"type\":\"object\"}"}}}},
                "additionalModelRequestFields": {"seed": 7},
                "requestMetadata": {"user": "u"},
            })
        );
    }

    #[test]
    fn what_is_not_honoured_is_refused_by_name() {
        for (name, value, begins) in [
            ("n", json!(2), "n: 2 is not supported"),
            ("top_logprobs", json!(2), "top_logprobs: expected logprobs"),
            ("frequency_penalty", json!(0.5), "frequency_penalty: 0.5"),
            ("functions", json!([]), "functions: Extra inputs"),
            (
                "tool_choice",
                json!("required"),
                "tool_choice: \"required\" needs tools",
            ),
            (
                "response_format",
                json!({"type": "xml"}),
                "response_format.type: expected",
            ),
            (
                "messages",
                json!([{"role": "robot", "content": "x"}]),
                "messages.0.role: expected",
            ),
            (
                "messages",
                json!([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x"}}]}]),
                "messages.0.content.0.image_url.url: expected a data: address",
            ),
            (
                "messages",
                json!([{"role": "user", "content": "x", "name": "ada"}]),
                "messages.0.name: Extra inputs",
            ),
        ] {
            let mut body = json!({"messages": [{"role": "user", "content": "Hi"}]});
            body[name] = value;
            let error = converse_input(Members::of(body, "").unwrap()).unwrap_err();
            assert!(error.message().starts_with(begins), "{}", error.message());
        }
    }
}
