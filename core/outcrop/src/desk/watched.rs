//! Streams whose end closes the record of their call.

use outcrop_api::{BoxFuture, EventStream, Result, StreamEvent};
use serde_json::Value;

use crate::desk::Record;
use crate::operations::{Answer, OperationEvents};

/// Closes the record of a call that is answered; one that is streamed is closed at the stream's end.
pub(super) fn watch_operation(record: Record, answer: Result<Answer>) -> Result<Answer> {
    match answer {
        Err(error) => {
            record.close(Some(&error))?;
            Err(error)
        }
        Ok(mut answer) => {
            if let Some(events) = answer.events.take() {
                answer.events = Some(Box::new(Watched { events, record }));
            } else {
                record.response(|| Value::Object(answer.output.clone()));
                record.close(None)?;
            }
            Ok(answer)
        }
    }
}

/// The same for a model's own stream, whose usage is noted.
pub(crate) fn watch_answer(record: Record, events: Box<dyn EventStream>) -> Box<dyn EventStream> {
    Box::new(Watched { events, record })
}

struct Watched<E: ?Sized> {
    record: Record,
    events: Box<E>,
}

impl OperationEvents for Watched<dyn OperationEvents> {
    fn next(&mut self) -> BoxFuture<'_, Option<Result<(&'static str, Value)>>> {
        Box::pin(async move {
            let event = self.events.next().await;
            let closed = match &event {
                Some(Ok(_)) => Ok(()),
                Some(Err(error)) => self.record.close(Some(error)),
                None => self.record.close(None),
            };
            closed.map_or_else(|error| Some(Err(error)), |()| event)
        })
    }
}

impl EventStream for Watched<dyn EventStream> {
    fn next(&mut self) -> BoxFuture<'_, Option<Result<StreamEvent>>> {
        Box::pin(async move {
            let event = self.events.next().await;
            let closed = match &event {
                Some(Ok(StreamEvent::Done { usage, .. })) => {
                    self.record.usage(usage);
                    self.record.close(None)
                }
                Some(Ok(_)) => Ok(()),
                Some(Err(error)) => self.record.close(Some(error)),
                None => self.record.close(None),
            };
            closed.map_or_else(|error| Some(Err(error)), |()| event)
        })
    }
}
