//! `Converse`, and `ConverseStream`: the same answer, collected or as it is written.

mod blocks;
mod document;
mod events;
mod fields;
mod logprobs;
mod named;
mod request;
mod response;
mod rules;

use outcrop_api::{Error, EventStream, Gathered, Result};
use std::sync::Arc;
use std::time::Instant;

use super::{Answer, Call};
use events::ConverseEvents;
use request::Asked;
use response::Frame;

/// Answers a conversation.
pub(super) async fn converse(call: Call) -> Result<Answer> {
    let (mut stream, frame) = start(&call).await?;
    let mut gathered = Gathered::default();
    while let Some(event) = stream.next().await {
        if let Some((stop_reason, usage)) = gathered.push(event?) {
            call.record.usage(&usage);
            let output = frame.whole(gathered, stop_reason, &usage)?;
            return Ok(Answer {
                output,
                ..Answer::default()
            });
        }
    }
    Err(Error::internal("the stream ended without an end event"))
}

/// Answers a conversation as the answer is written.
pub(super) async fn converse_stream(call: Call) -> Result<Answer> {
    let (stream, frame) = start(&call).await?;
    let events = ConverseEvents::new(stream, frame, call.record);
    Ok(Answer::stream(Box::new(events)))
}

/// Starts the model on the call's request.
async fn start(call: &Call) -> Result<(Box<dyn EventStream>, Frame)> {
    let started = Instant::now();
    let named = named::read(call).await?;
    let input = named.input.as_ref().unwrap_or(&call.input);
    let id = input["modelId"].as_str().unwrap_or_default();
    let model = runtime_model(call, id).await?;
    let Asked {
        request,
        marks_cache,
        response_paths,
    } = request::read(input, model.cites())?;
    for (name, value) in &request.request_metadata {
        call.record
            .fact(&format!("requestMetadata.{name}"), value.as_str());
    }
    let stream = model.chat()?.converse_stream(request).await?;
    let frame = Frame {
        started,
        marks_cache,
        response_paths,
        performance: call.input.get("performanceConfig").cloned(),
        service_tier: call.input.get("serviceTier").cloned(),
        model: Some(model),
        trace: named.trace,
    };
    Ok((stream, frame))
}

/// The model that a call of the runtime names, noted in its record.
///
/// # Errors
/// A name that is no model is, as on AWS, a `ValidationException`.
pub(super) async fn runtime_model(call: &Call, id: &str) -> Result<Arc<outcrop_models::Model>> {
    let (resolution, model) = call.session.runtime_model(id, &call.principal).await?;
    call.record.model(resolution.model);
    Ok(model)
}
