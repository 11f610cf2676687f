//! A sequence's events as the events of a reply.

use std::collections::VecDeque;

use outcrop_api::{BoxFuture, EventStream, Result, StopReason, StreamEvent};

use crate::engine::SequenceEvents;
use crate::sequence::SequenceEvent;
use crate::tool_calls::ReplyReader;

/// The events of `generate`: ids as they are chosen, text as soon as it is certain.
pub(crate) struct GenerateStream {
    events: Option<SequenceEvents>,
}

impl GenerateStream {
    /// The stream of a submitted sequence.
    pub fn new(events: SequenceEvents) -> Self {
        Self {
            events: Some(events),
        }
    }
}

impl EventStream for GenerateStream {
    fn next(&mut self) -> BoxFuture<'_, Option<Result<StreamEvent>>> {
        Box::pin(next_event(&mut self.events, true))
    }
}

/// The events of `converse`: text, and the calls of declared tools.
pub(crate) struct ConverseStream {
    events: Option<SequenceEvents>,
    /// `None` where all is text.
    reader: Option<ReplyReader>,
    /// What comes before the next event of the sequence.
    ready: VecDeque<StreamEvent>,
}

impl ConverseStream {
    /// The stream of a submitted sequence.
    pub fn new(events: SequenceEvents, reader: Option<ReplyReader>) -> Self {
        Self {
            events: Some(events),
            reader,
            ready: VecDeque::new(),
        }
    }

    async fn next_event(&mut self) -> Option<Result<StreamEvent>> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(Ok(event));
            }
            let event = next_event(&mut self.events, false).await?;
            let (Some(reader), Ok(event)) = (&mut self.reader, &event) else {
                return Some(event);
            };
            match event {
                StreamEvent::TextDelta(delta) => self.ready.extend(reader.push(delta)),
                StreamEvent::Done { stop_reason, usage } => {
                    self.ready.extend(reader.finish());
                    let stop_reason = match stop_reason {
                        StopReason::EndTurn if reader.found() > 0 => StopReason::ToolUse,
                        other => *other,
                    };
                    self.ready.push_back(StreamEvent::Done {
                        stop_reason,
                        usage: *usage,
                    });
                }
                other => self.ready.push_back(other.clone()),
            }
        }
    }
}

impl EventStream for ConverseStream {
    fn next(&mut self) -> BoxFuture<'_, Option<Result<StreamEvent>>> {
        Box::pin(self.next_event())
    }
}

/// The next event of a reply. After the last one `events` is gone, and the engine is let go.
async fn next_event(
    events: &mut Option<SequenceEvents>,
    with_ids: bool,
) -> Option<Result<StreamEvent>> {
    loop {
        let event = match events.as_mut()?.next().await {
            Ok(SequenceEvent::Token(id)) if with_ids => Ok(StreamEvent::Ids(vec![id])),
            Ok(SequenceEvent::Token(_) | SequenceEvent::Logits(_) | SequenceEvent::Scores(_)) => {
                continue;
            }
            Ok(SequenceEvent::Logprobs(logprobs)) => Ok(StreamEvent::Logprobs(vec![logprobs])),
            Ok(SequenceEvent::Text(text)) => Ok(StreamEvent::TextDelta(text)),
            Ok(SequenceEvent::Done { stop_reason, usage }) => {
                *events = None;
                Ok(StreamEvent::Done { stop_reason, usage })
            }
            Err(error) => {
                *events = None;
                Err(error)
            }
        };
        return Some(event);
    }
}
