//! OpenAI's API: `/v1/chat/completions`, `/v1/embeddings` and `/v1/models`.

use outcrop::governance::Caller;
use outcrop::operations::Members;
use outcrop::operations::chat_completions::{Completion, CompletionChunks, converse_input};
use outcrop::{Error, Result, Session};
use serde_json::{Value, json};

use super::desk::{Desk, json_body, unknown};
use super::embeddings;
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
    let mut body = Members::of(json_body(request)?, "")?;
    let model: String = body.required("model")?;
    let streams = body.read("stream")?.unwrap_or(false);
    let tells_usage = stream_options(&mut body)?;
    let mut input = converse_input(body)?;
    let completion = Completion::new(&model);
    input.insert("modelId".into(), model.into());
    if streams {
        let (events, headers) = desk.stream("ConverseStream", input).await?;
        let translate = Events(CompletionChunks::new(completion, tells_usage));
        return Ok(sse::stream(events, Box::new(translate), headers));
    }
    let (output, headers) = desk.call("Converse", input).await?;
    let mut response = json_response(200, &completion.whole(&output)?);
    response.headers.extend(headers);
    Ok(response)
}

/// Whether a stream tells its token counts.
fn stream_options(body: &mut Members) -> Result<bool> {
    let Some(options) = body.take("stream_options") else {
        return Ok(false);
    };
    let mut options = Members::of(options, "stream_options")?;
    let tells_usage = options.read("include_usage")?.unwrap_or(false);
    options.only("include_obfuscation", &[json!(false)])?;
    options.end()?;
    Ok(tells_usage)
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
            Err(Error::not_found(message).into())
        }
    }
}

/// A model; when it was made is not known.
fn described(id: &str, provider: &str) -> Value {
    json!({"id": id, "object": "model", "created": 0, "owned_by": provider})
}

struct Events(CompletionChunks);

impl Translate for Events {
    fn event(&mut self, name: &str, value: &Value) -> Result<String> {
        let chunk = self.0.push(name, value)?;
        Ok(chunk.map_or_else(String::new, |chunk| sse::event(None, &chunk)))
    }

    fn end(&mut self) -> String {
        "data: [DONE]\n\n".into()
    }

    fn error(&mut self, error: &Error) -> String {
        sse::event(None, &Vendor::OpenAi.error_of(error))
    }
}
