//! Streams whose end closes the record of their call.

use outcrop_api::{BoxFuture, Error, EventStream, Result, StreamEvent};
use serde_json::{Value, json};

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
                answer.events = Some(Box::new(Watched::new(record, events)));
            } else {
                if answer.payload.is_none() {
                    record.response(|| Value::Object(answer.output.clone()));
                }
                record.close(None)?;
            }
            Ok(answer)
        }
    }
}

/// The same for a model's own stream, whose usage is noted.
pub(crate) fn watch_answer(record: Record, events: Box<dyn EventStream>) -> Box<dyn EventStream> {
    Box::new(Watched::new(record, events))
}

struct Watched<E: ?Sized> {
    record: Record,
    events: Box<E>,
    /// The events so far, where the bodies are to be kept.
    told: Option<Vec<Value>>,
}

impl<E: ?Sized> Watched<E> {
    fn new(record: Record, events: Box<E>) -> Self {
        let told = record.keeps_bodies().then(Vec::new);
        Self {
            record,
            events,
            told,
        }
    }

    /// Keeps an event, where the bodies are to be kept.
    fn keep(&mut self, event: impl FnOnce() -> Value) {
        if let Some(told) = &mut self.told {
            told.push(event());
        }
    }

    /// Closes the record, with what was told.
    fn close(&mut self, error: Option<&Error>) -> Result<()> {
        if let Some(told) = self.told.take() {
            self.record.response(|| Value::Array(told));
        }
        self.record.close(error)
    }
}

impl OperationEvents for Watched<dyn OperationEvents> {
    fn next(&mut self) -> BoxFuture<'_, Option<Result<(&'static str, Value)>>> {
        Box::pin(async move {
            let event = self.events.next().await;
            let closed = match &event {
                Some(Ok((name, value))) => {
                    self.keep(|| json!({ *name: value }));
                    Ok(())
                }
                Some(Err(error)) => self.close(Some(error)),
                None => self.close(None),
            };
            closed.map_or_else(|error| Some(Err(error)), |()| event)
        })
    }
}

impl EventStream for Watched<dyn EventStream> {
    fn next(&mut self) -> BoxFuture<'_, Option<Result<StreamEvent>>> {
        Box::pin(async move {
            let event = self.events.next().await;
            if let Some(Ok(event)) = &event {
                self.keep(|| serde_json::to_value(event).unwrap_or_default());
            }
            let closed = match &event {
                Some(Ok(StreamEvent::Done { usage, .. })) => {
                    self.record.usage(usage);
                    self.close(None)
                }
                Some(Ok(_)) => Ok(()),
                Some(Err(error)) => self.close(Some(error)),
                None => self.close(None),
            };
            closed.map_or_else(|error| Some(Err(error)), |()| event)
        })
    }
}
