//! `InvokeModel`, `InvokeModelWithResponseStream` and `CountTokens`: each model family's own body
//! formats, over the one answer that `Converse` gives.

mod chat;
mod chunks;
mod count_tokens;
mod embedding;
mod family;
mod llama;
mod messages;
mod mistral;
mod nova;
mod rerank;
mod text_format;
mod titan_text;

use std::sync::Arc;
use std::time::Instant;

use outcrop_api::{Error, GenerateRequest, Result, Scheduling, Usage};
use outcrop_models::Model;
use serde_json::{Map, Value, json};

use super::converse::{self, Exchange, Frame};
use super::{Answer, Call, Members};
use chunks::Chunks;
use family::Family;
use text_format::{Asked, TextFormat};

pub(super) use count_tokens::count_tokens;

/// A model, and the body that it is asked with.
struct Opened {
    model: Arc<Model>,
    family: Family,
    body: Members,
}

/// Runs a model on a body in its family's format.
pub(super) async fn invoke_model(call: Call) -> Result<Answer> {
    let Opened {
        model,
        family,
        body,
    } = open(&call).await?;
    let answer = match &family {
        Family::Text(format) => {
            let exchange = text(&call, model, format.as_ref(), body).await?;
            format.answer(&exchange.whole(&call.record).await?)?
        }
        Family::Embedding(format) => embedding::answer(&call, &model, *format, body).await?,
        Family::Rerank => rerank::answer(&model, body).await?,
    };
    call.record.response(|| answer.clone());
    Ok(Answer {
        output: head(&call),
        payload: Some(answer.to_string().into_bytes()),
        events: None,
    })
}

/// The same as the answer is written: chunks of JSON in the family's format.
pub(super) async fn invoke_model_with_response_stream(call: Call) -> Result<Answer> {
    let opened = open(&call).await?;
    let Family::Text(format) = opened.family else {
        return Err(Error::validation(
            "The model is unsupported for streaming: it doesn't generate text.",
        ));
    };
    let exchange = text(&call, opened.model, format.as_ref(), opened.body).await?;
    let output = head(&call);
    let started = exchange.frame.started;
    let chunks = Chunks::new(exchange.events(call.record), format.chunks(), started);
    Ok(Answer {
        output,
        payload: None,
        events: Some(Box::new(chunks)),
    })
}

/// The call's model, the family of its body, and the body as JSON.
async fn open(call: &Call) -> Result<Opened> {
    for member in ["guardrailIdentifier", "guardrailVersion", "trace"] {
        if call.text(member).is_some_and(|value| value != "DISABLED") {
            return Err(converse::request::unsupported(
                member,
                "guardrails are not here yet",
            ));
        }
    }
    let body = body_of(&call.payload)?;
    let name = call.required("modelId")?;
    let model = converse::runtime_model(call, name).await?;
    let family = Family::of(name, model.info().kind, &body)?;
    let body = Members::of(body, "")?;
    Ok(Opened {
        model,
        family,
        body,
    })
}

/// The body of a request as JSON.
fn body_of(payload: &[u8]) -> Result<Value> {
    serde_json::from_slice(payload).map_err(|error| {
        Error::validation(format!(
            "Malformed input request, please reformat your input and try again: {error}"
        ))
    })
}

/// Starts the model on a body that asks for text.
async fn text(
    call: &Call,
    model: Arc<Model>,
    format: &dyn TextFormat,
    body: Members,
) -> Result<Exchange> {
    let started = Instant::now();
    let mut input = match format.ask(body)? {
        Asked::Conversation(input) => input,
        Asked::Prompt(request) => return prompt(&model, *request, started).await,
    };
    for (header, member) in [
        ("serviceTier", "type"),
        ("performanceConfigLatency", "latency"),
    ] {
        if let Some(value) = call.text(header) {
            let name = header.trim_end_matches("Latency");
            input.insert(name.into(), Value::Object(one(member, json!(value))));
        }
    }
    if let Some(metadata) = call.text("requestMetadata") {
        let metadata = serde_json::from_str(metadata).map_err(|error| {
            Error::validation(format!("requestMetadata: expected JSON: {error}"))
        })?;
        input.insert("requestMetadata".into(), metadata);
    }
    converse::start_on(call, model, &Value::Object(input), started).await
}

/// Starts the model on a prompt that its caller has templated. A model that reads messages only,
/// such as a remote one, is given it as the user's message.
async fn prompt(model: &Model, mut request: GenerateRequest, started: Instant) -> Result<Exchange> {
    request.scheduling = Scheduling::default();
    let stream = match model.engine() {
        Ok(engine) => {
            // A long prompt takes long to read: whoever polls, maybe an event loop, goes on first.
            tokio::task::yield_now().await;
            request.prompt = text_format::with_one_start(request.prompt, engine.tokenizer())?;
            engine.generate_stream(request).await?
        }
        Err(_) => {
            let request = text_format::as_conversation(request);
            model.chat()?.converse_stream(request).await?
        }
    };
    let frame = Frame::new(started);
    Ok(Exchange { stream, frame })
}

/// The members of the answer that go to its headers.
fn head(call: &Call) -> Map<String, Value> {
    let mut output = one("contentType", json!("application/json"));
    for name in ["performanceConfigLatency", "serviceTier"] {
        if let Some(value) = call.text(name) {
            output.insert(name.into(), json!(value));
        }
    }
    output
}

fn one(name: &str, value: Value) -> Map<String, Value> {
    Map::from_iter([(name.to_string(), value)])
}

/// Notes tokens that were read.
fn note_input(call: &Call, tokens: usize) {
    call.record.usage(&Usage::new(tokens, 0));
}
