//! `Converse`, and `ConverseStream`: the same answer, collected or as it is written.

mod blocks;
mod document;
mod events;
mod fields;
mod logprobs;
mod named;
pub(super) mod request;
mod response;
mod rules;

use std::sync::Arc;
use std::time::Instant;

use outcrop_api::{Error, EventStream, Gathered, Result};
use outcrop_models::{Model, Resolution};
use serde_json::{Map, Value};

use super::{Answer, Call};
use crate::desk::Record;
use request::Asked;

pub(super) use events::ConverseEvents;
pub(super) use response::Frame;

/// Answers a conversation.
pub(super) async fn converse(call: Call) -> Result<Answer> {
    let exchange = start(&call, &call.input).await?;
    Ok(Answer {
        output: exchange.whole(&call.record).await?,
        ..Answer::default()
    })
}

/// Answers a conversation as the answer is written.
pub(super) async fn converse_stream(call: Call) -> Result<Answer> {
    let exchange = start(&call, &call.input).await?;
    Ok(Answer::stream(Box::new(exchange.events(call.record))))
}

/// A model's answer as it begins.
pub(super) struct Exchange {
    pub stream: Box<dyn EventStream>,
    pub frame: Frame,
}

impl Exchange {
    /// The members of the whole answer.
    ///
    /// # Errors
    /// Those of the model.
    pub async fn whole(mut self, record: &Record) -> Result<Map<String, Value>> {
        let mut gathered = Gathered::default();
        while let Some(event) = self.stream.next().await {
            if let Some((stop_reason, usage)) = gathered.push(event?) {
                record.usage(&usage);
                return self.frame.whole(gathered, stop_reason, &usage);
            }
        }
        Err(Error::internal("the stream ended without an end event"))
    }

    /// Its events.
    pub fn events(self, record: Record) -> ConverseEvents {
        ConverseEvents::new(self.stream, self.frame, record)
    }
}

/// Starts a model on the members of a `Converse` request; a prompt's ARN as its model brings the
/// prompt's own members.
pub(super) async fn start(call: &Call, input: &Value) -> Result<Exchange> {
    let started = Instant::now();
    let named = named::read(call, input).await?;
    let input = named.input.as_ref().unwrap_or(input);
    let id = input["modelId"].as_str().unwrap_or_default();
    let model = runtime_model(call, id).await?;
    let mut exchange = start_on(call, model, input, started).await?;
    exchange.frame.trace = named.trace;
    Ok(exchange)
}

/// The same on a model that is open already.
pub(super) async fn start_on(
    call: &Call,
    model: Arc<Model>,
    input: &Value,
    started: Instant,
) -> Result<Exchange> {
    if request::has_document(input) {
        // It is parsed: whoever polls, maybe an event loop, goes on first.
        tokio::task::yield_now().await;
    }
    let Asked {
        request,
        marks_cache,
        response_paths,
    } = request::read(input, model.cites())?;
    for (name, value) in &request.request_metadata {
        call.record
            .fact(&format!("requestMetadata.{name}"), value.as_str());
    }
    Ok(Exchange {
        stream: model.chat()?.converse_stream(request).await?,
        frame: Frame {
            marks_cache,
            response_paths,
            performance: input.get("performanceConfig").cloned(),
            service_tier: input.get("serviceTier").cloned(),
            model: Some(model),
            ..Frame::new(started)
        },
    })
}

/// The model that a call of the runtime names, noted in its record with what led to it.
///
/// # Errors
/// A name that is no model is, as on AWS, a `ValidationException`.
pub(super) async fn runtime_model(call: &Call, name: &str) -> Result<Arc<Model>> {
    let (resolution, model) = call.session.runtime_model(name, &call.principal).await?;
    note_model(call, resolution);
    Ok(model)
}

/// Notes in a call's record which model runs, and the aliases that led to it.
pub(super) fn note_model(call: &Call, resolution: Resolution) {
    call.record.model(resolution.model);
    if !resolution.aliases.is_empty() {
        call.record.fact("aliases", resolution.aliases);
    }
}
