//! Lambda functions as executors of action groups: Bedrock's event to them, and their answers.

use outcrop_agents::{CallEnd, Outcome};
use serde_json::{Map, Value, json};

use super::endpoint::Asked;
use super::http::HttpRequest;

/// The version of the messages.
const VERSION: &str = "1.0";

/// Posts the function that is mapped to `url` its event; what came of it.
pub(super) async fn called(asked: Asked, url: &str) -> CallEnd {
    let call = asked.call.clone();
    let request = HttpRequest {
        method: "POST".into(),
        url: url.into(),
        headers: Vec::new(),
        body: Some(event(&asked)),
        // Whoever maps a function says where it is.
        allows_private: true,
    };
    let answer = match request.send(asked.limit).await {
        Ok(answer) if (200..300).contains(&answer.status) => answer,
        Ok(answer) => return CallEnd::of(&call, answer.outcome("the Lambda function"), 0),
        Err(outcome) => return CallEnd::of(&call, outcome, 0),
    };
    let Ok(answer) = serde_json::from_str::<Value>(&answer.text) else {
        return CallEnd::of(&call, unexpected("JSON"), 0);
    };
    let mut end = CallEnd::of(&call, outcome(&answer), 0);
    for (member, attributes) in [
        ("sessionAttributes", &mut end.session_attributes),
        (
            "promptSessionAttributes",
            &mut end.prompt_session_attributes,
        ),
    ] {
        let given = answer[member].as_object().into_iter().flatten();
        attributes.extend(
            given.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_string()))),
        );
    }
    end
}

/// The event that Bedrock sends.
fn event(asked: &Asked) -> Value {
    let turn = &asked.turn;
    let mut event = json!({
        "messageVersion": VERSION,
        "agent": {
            "name": turn.agent_name,
            "id": turn.agent_id,
            "alias": "TSTALIASID",
            "version": turn.agent_version,
        },
        "inputText": turn.input,
        "sessionId": asked.session_id,
        "actionGroup": asked.group,
        "sessionAttributes": turn.session_attributes,
        "promptSessionAttributes": turn.prompt_session_attributes,
    });
    let empty = Map::new();
    let arguments = asked.arguments.as_object().unwrap_or(&empty);
    let api = asked.function.api.as_ref();
    let body = api.and_then(|api| api.body.iter().next());
    let is_of_body = |name: &String| body.is_some_and(|(_, names)| names.contains(name));
    let parameter = |(name, value): (&String, &Value)| {
        let schema = &asked.function.input_schema["properties"][name.as_str()];
        json!({
            "name": name,
            "type": schema["type"].as_str().unwrap_or("string"),
            "value": value.as_str().map_or_else(|| value.to_string(), String::from),
        })
    };
    let outside = arguments.iter().filter(|(name, _)| !is_of_body(name));
    event["parameters"] = outside.map(parameter).collect();
    match api {
        Some(api) => {
            event["apiPath"] = json!(api.path);
            event["httpMethod"] = json!(api.method);
        }
        None => event["function"] = json!(asked.function.name),
    }
    if let Some((media, _)) = body {
        let inside = arguments.iter().filter(|(name, _)| is_of_body(name));
        let properties: Vec<Value> = inside.map(parameter).collect();
        event["requestBody"] = json!({"content": {media: {"properties": properties}}});
    }
    event
}

/// What the function's answer comes to. `REPROMPT` and `FAILURE` are told to the model.
fn outcome(answer: &Value) -> Outcome {
    let response = &answer["response"];
    let (bodies, is_failed) = match response.get("functionResponse") {
        Some(of_function) => (
            &of_function["responseBody"],
            of_function["responseState"].is_string(),
        ),
        None => {
            let status = response["httpStatusCode"].as_u64().unwrap_or(200);
            let reprompts = response["responseState"].is_string();
            (
                &response["responseBody"],
                reprompts || !(200..300).contains(&status),
            )
        }
    };
    let Some(bodies) = bodies.as_object() else {
        return unexpected("a response with a responseBody");
    };
    let bodies = bodies.values().filter_map(|body| match &body["body"] {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    });
    let text = bodies.collect::<Vec<_>>().join("\n");
    match is_failed {
        true => Outcome::Failed { error: text },
        // A structured result as such: policies look at its members.
        false => Outcome::Returned(match serde_json::from_str(&text) {
            Ok(value @ (Value::Object(_) | Value::Array(_))) => value,
            _ => Value::String(text),
        }),
    }
}

fn unexpected(what: &str) -> Outcome {
    Outcome::Failed {
        error: format!("the Lambda function's answer: expected {what}"),
    }
}
