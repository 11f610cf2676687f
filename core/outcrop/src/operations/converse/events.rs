//! The events of `ConverseStream`, in the order that the service sends them.

use std::collections::VecDeque;

use outcrop_api::{
    BoxFuture, ContentBlock, Error, EventStream, GeneratedText, ReasoningContent, Result,
    StreamEvent, TokenLogprobs,
};
use serde_json::{Value, json};

use super::response::{Frame, json_of};
use crate::desk::Record;
use crate::operations::OperationEvents;

/// An event's member of the stream, and its value.
type Event = (&'static str, Value);

/// A running answer as `messageStart`, the deltas of each block and its stop, `messageStop` and
/// `metadata`.
pub struct ConverseEvents {
    stream: Box<dyn EventStream>,
    frame: Frame,
    record: Record,
    /// Made, and not asked for yet.
    waiting: VecDeque<Event>,
    /// The index of the block that is being written.
    block: usize,
    is_open: bool,
    is_done: bool,
    /// Told at the end, where the request asked for them.
    logprobs: Vec<TokenLogprobs>,
}

impl ConverseEvents {
    pub fn new(stream: Box<dyn EventStream>, frame: Frame, record: Record) -> Self {
        Self {
            stream,
            frame,
            record,
            waiting: VecDeque::from([("messageStart", json!({"role": "assistant"}))]),
            block: 0,
            is_open: false,
            is_done: false,
            logprobs: Vec::new(),
        }
    }

    /// Adds the events that one of the model's events becomes.
    fn push(&mut self, event: StreamEvent) -> Result<()> {
        match event {
            StreamEvent::TextDelta(text) => {
                self.is_open = true;
                self.delta(json!({ "text": text }));
            }
            StreamEvent::Block(block) => {
                self.stop();
                self.is_open = true;
                self.whole(block)?;
                self.stop();
            }
            StreamEvent::Ids(_) => {}
            StreamEvent::Logprobs(more) => self.logprobs.extend(more),
            StreamEvent::Done { stop_reason, usage } => {
                self.stop();
                self.record.usage(&usage);
                let mut end = json!({ "stopReason": stop_reason });
                if let Some(fields) =
                    self.frame
                        .additional_fields(stop_reason, &usage, &self.logprobs)?
                {
                    end["additionalModelResponseFields"] = fields;
                }
                self.waiting.push_back(("messageStop", end));
                let metadata = Value::Object(self.frame.end(&usage));
                self.waiting.push_back(("metadata", metadata));
                self.is_done = true;
            }
        }
        Ok(())
    }

    /// A block that came whole.
    fn whole(&mut self, block: ContentBlock) -> Result<()> {
        match block {
            ContentBlock::ToolUse(call) => {
                let start = json!({"toolUse": {"toolUseId": call.tool_use_id, "name": call.name}});
                let event = json!({"contentBlockIndex": self.block, "start": start});
                self.waiting.push_back(("contentBlockStart", event));
                self.delta(json!({"toolUse": {"input": ""}}));
                // Arguments that are no JSON are streamed as the model wrote them.
                let input = match call.input {
                    Value::String(text) => text,
                    input => input.to_string(),
                };
                self.delta(json!({"toolUse": {"input": input}}));
            }
            ContentBlock::CitationsContent(cited) => {
                for GeneratedText::Text(text) in cited.content {
                    self.delta(json!({ "text": text }));
                }
                for citation in &cited.citations {
                    let citation = json_of(citation)?;
                    self.delta(json!({ "citation": citation }));
                }
            }
            ContentBlock::ReasoningContent(ReasoningContent::ReasoningText(thought)) => {
                self.delta(json!({"reasoningContent": {"text": thought.text}}));
                if let Some(signature) = thought.signature {
                    self.delta(json!({"reasoningContent": {"signature": signature}}));
                }
            }
            ContentBlock::Text(text) => self.delta(json!({ "text": text })),
            other => {
                let block = json_of(&other)?;
                return Err(Error::internal(format!(
                    "a model said what it cannot say: {block}"
                )));
            }
        }
        Ok(())
    }

    fn delta(&mut self, delta: Value) {
        let event = json!({"contentBlockIndex": self.block, "delta": delta});
        self.waiting.push_back(("contentBlockDelta", event));
    }

    /// Ends the block that is being written, if there is one.
    fn stop(&mut self) {
        if std::mem::take(&mut self.is_open) {
            let event = json!({"contentBlockIndex": self.block});
            self.waiting.push_back(("contentBlockStop", event));
            self.block += 1;
        }
    }
}

impl OperationEvents for ConverseEvents {
    fn next(&mut self) -> BoxFuture<'_, Option<Result<Event>>> {
        Box::pin(async move {
            loop {
                if let Some(event) = self.waiting.pop_front() {
                    return Some(Ok(event));
                }
                if self.is_done {
                    return None;
                }
                let pushed = match self.stream.next().await {
                    Some(Ok(event)) => self.push(event),
                    Some(Err(error)) => Err(error),
                    None => Err(Error::internal("the stream ended without an end event")),
                };
                if let Err(error) = pushed {
                    self.is_done = true;
                    return Some(Err(error));
                }
            }
        })
    }
}
