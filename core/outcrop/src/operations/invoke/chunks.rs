//! The stream of `InvokeModelWithResponseStream`: chunks of JSON in a family's format.

use std::collections::VecDeque;
use std::time::Instant;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use outcrop_api::{BoxFuture, Result};
use serde_json::{Value, json};

use super::text_format::{ChunkFormat, count};
use crate::operations::OperationEvents;
use crate::operations::converse::ConverseEvents;

/// A running answer in chunks.
pub(super) struct Chunks {
    events: ConverseEvents,
    format: Box<dyn ChunkFormat>,
    started: Instant,
    /// From the call to the first chunk, in milliseconds.
    first_ms: Option<u64>,
    /// Made, and not asked for yet.
    waiting: VecDeque<Value>,
}

impl Chunks {
    pub fn new(events: ConverseEvents, format: Box<dyn ChunkFormat>, started: Instant) -> Self {
        Self {
            events,
            format,
            started,
            first_ms: None,
            waiting: VecDeque::new(),
        }
    }

    fn push(&mut self, event: &str, value: &Value) -> Result<()> {
        let elapsed = self.started.elapsed().as_millis() as u64;
        if event == "contentBlockDelta" {
            self.first_ms.get_or_insert(elapsed);
        }
        let mut chunks = self.format.push(event, value)?;
        if event == "metadata"
            && let Some(last) = chunks.last_mut()
        {
            let usage = value.get("usage");
            last["amazon-bedrock-invocationMetrics"] = json!({
                "inputTokenCount": count(usage, "inputTokens"),
                "outputTokenCount": count(usage, "outputTokens"),
                "invocationLatency": elapsed,
                "firstByteLatency": self.first_ms.unwrap_or(elapsed),
            });
        }
        self.waiting.extend(chunks);
        Ok(())
    }
}

impl OperationEvents for Chunks {
    fn next(&mut self) -> BoxFuture<'_, Option<Result<(&'static str, Value)>>> {
        Box::pin(async move {
            loop {
                if let Some(chunk) = self.waiting.pop_front() {
                    let bytes = BASE64_STANDARD.encode(chunk.to_string());
                    return Some(Ok(("chunk", json!({ "bytes": bytes }))));
                }
                let pushed = match self.events.next().await? {
                    Ok((event, value)) => self.push(event, &value),
                    Err(error) => Err(error),
                };
                if let Err(error) = pushed {
                    return Some(Err(error));
                }
            }
        })
    }
}
