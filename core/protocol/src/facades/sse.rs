//! Server-sent events, made of an operation's stream.

use outcrop::api::BoxFuture;
use outcrop::operations::OperationEvents;
use outcrop::{Error, Result};
use serde_json::Value;

use super::vendor::Headers;
use crate::http::{Body, Chunks, HttpResponse};

/// What makes a vendor's events of those of an operation.
pub(super) trait Translate: Send {
    /// The text that an event becomes; empty where it becomes nothing.
    fn event(&mut self, name: &str, value: &Value) -> Result<String>;

    /// The text that ends the stream.
    fn end(&mut self) -> String;

    /// The text that tells of an error, and ends the stream.
    fn error(&mut self, error: &Error) -> String;
}

/// A response that streams `events` as `translate` tells them, with further `headers`.
pub(super) fn stream(
    events: Box<dyn OperationEvents>,
    translate: Box<dyn Translate>,
    mut headers: Headers,
) -> HttpResponse {
    let content_type = "text/event-stream; charset=utf-8";
    headers.push(("Content-Type".into(), content_type.into()));
    headers.push(("Cache-Control".into(), "no-cache".into()));
    HttpResponse {
        status: 200,
        headers,
        body: Body::Chunks(Box::new(Translated {
            events: Some(events),
            translate,
        })),
    }
}

/// One event of a stream: its data, and its name where the vendor gives it one.
pub(super) fn event(name: Option<&str>, data: &Value) -> String {
    match name {
        Some(name) => format!("event: {name}\ndata: {data}\n\n"),
        None => format!("data: {data}\n\n"),
    }
}

struct Translated {
    /// None once the stream ended.
    events: Option<Box<dyn OperationEvents>>,
    translate: Box<dyn Translate>,
}

impl Chunks for Translated {
    fn next(&mut self) -> BoxFuture<'_, Option<Vec<u8>>> {
        Box::pin(async move {
            loop {
                let next = self.events.as_mut()?.next().await;
                let told = match next {
                    Some(Ok((name, value))) => self.translate.event(name, &value),
                    Some(Err(error)) => Err(error),
                    None => {
                        self.events = None;
                        Ok(self.translate.end())
                    }
                };
                let text = told.unwrap_or_else(|error| {
                    self.events = None;
                    self.translate.error(&error)
                });
                if !text.is_empty() {
                    return Some(text.into_bytes());
                }
            }
        })
    }
}
