//! OpenAI's API: `/v1/chat/completions`, `/v1/embeddings` and `/v1/models`.

use outcrop::Session;
use outcrop::governance::Caller;
use serde_json::{Value, json};

use super::chat_answer::{Chunks, Completion};
use super::desk::{Desk, json_body, unknown};
use super::vendor::{Answered, json_response};
use super::{chat_request, embeddings, sse};
use crate::http::{HttpRequest, HttpResponse};

/// Answers a request.
pub(super) async fn answer(
    session: &Session,
    caller: &Caller,
    request: &HttpRequest,
) -> Answered<HttpResponse> {
    let desk = Desk { session, caller };
    match (request.method.as_str(), request.path.as_str()) {
        ("POST", "/v1/chat/completions") => chat(&desk, request).await,
        ("POST", "/v1/embeddings") => embeddings::answer(&desk, request).await,
        ("GET", "/v1/models") => models(&desk).await,
        ("GET", path) if path.starts_with("/v1/models/") => {
            model(&desk, path.trim_start_matches("/v1/models/")).await
        }
        (method, path) => Err(unknown(method, path).into()),
    }
}

async fn chat(desk: &Desk<'_>, request: &HttpRequest) -> Answered<HttpResponse> {
    let asked = chat_request::read(json_body(request)?)?;
    let completion = Completion::new(&asked.model);
    if asked.streams {
        let (events, headers) = desk.stream("ConverseStream", asked.input).await?;
        let chunks = Chunks::new(completion, asked.tells_usage);
        return Ok(sse::stream(events, Box::new(chunks), headers));
    }
    let (output, headers) = desk.call("Converse", asked.input).await?;
    let mut response = json_response(200, &completion.whole(&output)?);
    response.headers.extend(headers);
    Ok(response)
}

async fn models(desk: &Desk<'_>) -> Answered<HttpResponse> {
    let models = desk.models().await?;
    let data: Vec<Value> = models
        .iter()
        .map(|model| described(&model.id, &model.provider))
        .collect();
    Ok(json_response(200, &json!({"object": "list", "data": data})))
}

async fn model(desk: &Desk<'_>, id: &str) -> Answered<HttpResponse> {
    let models = desk.models().await?;
    let is_it = |given: &str| given == id || given == id.replace("%3A", ":").replace("%2F", "/");
    match models.iter().find(|model| is_it(&model.id)) {
        Some(model) => Ok(json_response(200, &described(&model.id, &model.provider))),
        None => {
            let message = format!("The model {id:?} does not exist");
            Err(outcrop::Error::not_found(message).into())
        }
    }
}

/// A model; when it was made is not known.
fn described(id: &str, provider: &str) -> Value {
    json!({"id": id, "object": "model", "created": 0, "owned_by": provider})
}
