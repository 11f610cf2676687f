//! Anthropic's API: `/v1/messages`, `/v1/messages/count_tokens` and `/v1/models`.

use outcrop::governance::Caller;
use outcrop::operations::Members;
use outcrop::operations::anthropic::{MessageEvents, converse_input, message, message_id};
use outcrop::{Error, Result, Session};
use serde_json::{Map, Value, json};

use super::desk::{Desk, json_body};
use super::sse::{self, Translate};
use super::vendor::{Answered, Vendor, json_response};
use crate::http::{HttpRequest, HttpResponse};

/// Answers a request.
pub(super) async fn answer(
    session: &Session,
    caller: &Caller,
    request: &HttpRequest,
) -> Answered<HttpResponse> {
    let desk = Desk { session, caller };
    match (request.method.as_str(), request.path.as_str()) {
        ("POST", "/v1/messages") => messages(&desk, request).await,
        ("POST", "/v1/messages/count_tokens") => count_tokens(&desk, request).await,
        ("GET", "/v1/models") => models(&desk).await,
        (method, path) => Err(super::desk::unknown(method, path).into()),
    }
}

async fn messages(desk: &Desk<'_>, request: &HttpRequest) -> Answered<HttpResponse> {
    let mut body = Members::of(json_body(request)?, "")?;
    let model: String = body.required("model")?;
    let streams = body.read("stream")?.unwrap_or(false);
    let mut input = converse_input(body)?;
    input.insert("modelId".into(), model.clone().into());
    let stops = stops(&input);
    let id = message_id();
    if streams {
        let (events, headers) = desk.stream("ConverseStream", input).await?;
        let translate = Events(MessageEvents::new(id, &model, stops));
        return Ok(sse::stream(events, Box::new(translate), headers));
    }
    let (output, headers) = desk.call("Converse", input).await?;
    let message = message(&output, &id, &model, &stops)?;
    let mut response = json_response(200, &message);
    response.headers.extend(headers);
    Ok(response)
}

async fn count_tokens(desk: &Desk<'_>, request: &HttpRequest) -> Answered<HttpResponse> {
    let mut body = json_body(request)?;
    // What is counted has no length of its own, and the one translation wants one.
    if let Some(body) = body.as_object_mut() {
        if body.contains_key("max_tokens") {
            return Err(Error::validation("max_tokens: Extra inputs are not permitted").into());
        }
        body.insert("max_tokens".into(), json!(1));
    }
    let mut body = Members::of(body, "")?;
    let model: String = body.required("model")?;
    let mut converse = converse_input(body)?;
    converse.shift_remove("inferenceConfig");
    converse.shift_remove("requestMetadata");
    let mut input = Map::new();
    input.insert("modelId".into(), model.into());
    input.insert("input".into(), json!({ "converse": converse }));
    let (output, headers) = desk.call("CountTokens", input).await?;
    let count = json!({ "input_tokens": output.get("inputTokens") });
    let mut response = json_response(200, &count);
    response.headers.extend(headers);
    Ok(response)
}

async fn models(desk: &Desk<'_>) -> Answered<HttpResponse> {
    let models = desk.models().await?;
    let first = models.first().map(|model| model.id.clone());
    let last = models.last().map(|model| model.id.clone());
    let data: Vec<Value> = models
        .into_iter()
        .map(|model| {
            json!({
                "type": "model", "id": model.id, "display_name": model.name,
                "created_at": "1970-01-01T00:00:00Z",
            })
        })
        .collect();
    let page = json!({"data": data, "has_more": false, "first_id": first, "last_id": last});
    Ok(json_response(200, &page))
}

fn stops(input: &Map<String, Value>) -> Vec<String> {
    let stops = input
        .get("inferenceConfig")
        .and_then(|config| config.get("stopSequences"));
    let stops = stops.and_then(Value::as_array).into_iter().flatten();
    stops
        .filter_map(|stop| stop.as_str().map(String::from))
        .collect()
}

struct Events(MessageEvents);

impl Translate for Events {
    fn event(&mut self, name: &str, value: &Value) -> Result<String> {
        let events = self.0.push(name, value)?;
        let texts = events
            .iter()
            .map(|event| sse::event(event["type"].as_str(), event));
        Ok(texts.collect())
    }

    fn end(&mut self) -> String {
        String::new()
    }

    fn error(&mut self, error: &Error) -> String {
        sse::event(Some("error"), &Vendor::Anthropic.error_of(error))
    }
}
