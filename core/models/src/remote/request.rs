//! A Converse request as the body of `/chat/completions`.

use outcrop_api::{ConverseRequest, Error, OutputFormat, Result, Speculation, ToolChoice};
use outcrop_inference::conversation;
use serde_json::{Map, Value, json};

/// The body that asks `model` for what `request` asks. What is absent is left to the server.
///
/// # Errors
/// `ValidationException` that names what a server of this form cannot be asked for.
pub(super) fn body(request: &ConverseRequest, model: &str, id: &str) -> Result<Value> {
    refuse_what_it_cannot(request, id)?;
    let mut messages = conversation::messages(&request.messages, request.system.as_deref())?;
    messages.iter_mut().for_each(spell_arguments);
    let config = &request.inference_config;
    let mut body = Map::from_iter([
        ("model".to_string(), json!(model)),
        ("messages".to_string(), Value::Array(messages)),
        ("stream".to_string(), json!(true)),
        ("stream_options".to_string(), json!({"include_usage": true})),
    ]);
    let stop = Some(&config.stop_sequences).filter(|stop| !stop.is_empty());
    let variables = Some(&request.template_variables).filter(|variables| !variables.is_empty());
    for (name, value) in [
        ("max_tokens", config.max_tokens.map(|v| json!(v))),
        ("temperature", config.temperature.map(|v| json!(v))),
        ("top_p", config.top_p.map(|v| json!(v))),
        ("top_k", config.top_k.map(|v| json!(v))),
        ("min_p", config.min_p.map(|v| json!(v))),
        ("seed", config.seed.map(|v| json!(v))),
        ("stop", stop.map(|v| json!(v))),
        ("chat_template_kwargs", variables.map(|v| json!(v))),
        ("response_format", response_format(request)),
        ("tool_choice", request.tool_choice.as_ref().map(tool_choice)),
    ] {
        if let Some(value) = value {
            body.insert(name.into(), value);
        }
    }
    if !request.tools.is_empty() {
        let tools = conversation::tools(&request.tools);
        body.insert("tools".into(), Value::Array(tools));
    }
    Ok(Value::Object(body))
}

/// The arguments of tool calls are JSON text in OpenAI's form.
fn spell_arguments(message: &mut Value) {
    let calls = message.get_mut("tool_calls").and_then(Value::as_array_mut);
    for call in calls.into_iter().flatten() {
        let arguments = &mut call["function"]["arguments"];
        if !arguments.is_string() {
            *arguments = Value::String(arguments.to_string());
        }
    }
}

fn response_format(request: &ConverseRequest) -> Option<Value> {
    match &request.output_format {
        Some(OutputFormat::JsonSchema(schema)) => Some(json!({
            "type": "json_schema",
            "json_schema": {"name": "reply", "schema": schema, "strict": true},
        })),
        _ => None,
    }
}

fn tool_choice(choice: &ToolChoice) -> Value {
    match choice {
        ToolChoice::Auto {} => json!("auto"),
        ToolChoice::Any {} => json!("required"),
        ToolChoice::Tool { name } => json!({"type": "function", "function": {"name": name}}),
    }
}

fn refuse_what_it_cannot(request: &ConverseRequest, id: &str) -> Result<()> {
    let config = &request.inference_config;
    let form = request.output_format.as_ref();
    let form = form.filter(|form| !matches!(form, OutputFormat::JsonSchema(_)));
    let asked = [
        (form.map_or("", OutputFormat::option), form.is_some()),
        ("repetition_penalty", config.repetition_penalty.is_some()),
        ("logprobs", config.logprobs.is_some()),
        ("adapter", request.adapter.is_some()),
        (
            "speculation",
            !matches!(request.speculation, None | Some(Speculation::Off)),
        ),
        ("priority", request.scheduling.priority != 0),
    ];
    match asked.into_iter().find(|(_, is_asked)| *is_asked) {
        None => Ok(()),
        Some((field, _)) => Err(Error::validation(format!(
            "{field}: model {id} is behind a server of OpenAI's form, which cannot be asked for it"
        ))
        .with_resource(id)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn request(value: Value) -> ConverseRequest {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn everything_that_can_be_asked_for_is() {
        let asked = request(json!({
            "system": "Be brief.",
            "messages": [
                {"role": "user", "content": [{"text": "Sky?"}]},
                {"role": "assistant", "content": [{"toolUse": {"toolUseId": "t1", "name": "sky", "input": {"at": 1}}}]},
                {"role": "user", "content": [{"toolResult": {"toolUseId": "t1", "content": [{"text": "blue"}]}}]}
            ],
            "inferenceConfig": {"maxTokens": 9, "temperature": 0.5, "topK": 3, "seed": 7, "stopSequences": ["."]},
            "tools": [{"name": "sky", "description": "d", "inputSchema": {"type": "object"}}],
            "toolChoice": {"any": {}},
            "outputFormat": {"jsonSchema": {"type": "object"}},
            "templateVariables": {"enable_thinking": false},
            "requestMetadata": {"case": "a"}
        }));
        let expected = json!({
            "model": "m",
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "Sky?"},
                {"role": "assistant", "content": "", "tool_calls": [{"id": "t1", "type": "function",
                    "function": {"name": "sky", "arguments": "{\"at\":1}"}}]},
                {"role": "tool", "name": "sky", "tool_call_id": "t1", "content": "blue"}
            ],
            "stream": true,
            "stream_options": {"include_usage": true},
            "max_tokens": 9, "temperature": 0.5, "top_k": 3, "seed": 7, "stop": ["."],
            "chat_template_kwargs": {"enable_thinking": false},
            "response_format": {"type": "json_schema",
                "json_schema": {"name": "reply", "schema": {"type": "object"}, "strict": true}},
            "tool_choice": "required",
            "tools": [{"type": "function", "function": {"name": "sky", "description": "d", "parameters": {"type": "object"}}}]
        });
        assert_eq!(body(&asked, "m", "acme.m").unwrap(), expected);
    }

    #[test]
    fn what_cannot_be_asked_for_is_refused_by_name() {
        for (member, field) in [
            (json!({"outputFormat": {"regex": "a"}}), "regex: "),
            (json!({"outputFormat": {"lark": "a"}}), "lark: "),
            (json!({"adapter": "x"}), "adapter: "),
            (
                json!({"inferenceConfig": {"repetitionPenalty": 2.0}}),
                "repetition_penalty: ",
            ),
            (json!({"inferenceConfig": {"logprobs": 1}}), "logprobs: "),
            (json!({"speculation": "prompt_lookup"}), "speculation: "),
            (json!({"scheduling": {"priority": 1}}), "priority: "),
        ] {
            let mut asked = json!({"messages": [{"role": "user", "content": [{"text": "x"}]}]});
            asked
                .as_object_mut()
                .unwrap()
                .extend(member.as_object().unwrap().clone());
            let error = body(&request(asked), "m", "acme.m").unwrap_err();
            assert!(error.message().starts_with(field), "{error}");
        }
    }
}
