//! The events of `InvokeAgent`: the answer with its citations, a return of control, and the trace.

use std::collections::VecDeque;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use outcrop_agents::{AgentDefinition, Pending, TraceEvent};
use outcrop_api::{BoxFuture, Citation, Error, ErrorKind, Result};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::team::{self, Team};
use super::{control, trace};
use crate::agents::Run;
use crate::operations::OperationEvents;
use crate::operations::retrieval::reference_to;

/// An event's member of the stream, and its value.
type Event = (&'static str, Value);

/// What Bedrock answers where the session ends: nothing else of the request is asked.
const ENDED: &str = "Session is terminated as 'endSession' flag is set in request.";
/// Most bytes of one chunk, as the shape says.
const MAX_CHUNK: usize = 1_000_000;

/// A turn as the events of its answer.
pub(super) struct Invoking {
    run: Run,
    team: Team,
    /// What every event of the trace says of the agent; none where no trace is asked for.
    traced: Option<Value>,
    waiting: VecDeque<Event>,
    is_done: bool,
    /// Whether it is the session that ends.
    ends: bool,
    /// Told when all that came before it was.
    failed: Option<Error>,
}

impl Invoking {
    pub fn new(run: Run, team: Team, traced: Option<Value>) -> Self {
        Self {
            run,
            team,
            traced,
            waiting: VecDeque::new(),
            is_done: false,
            ends: false,
            failed: None,
        }
    }

    /// The same, where it is the session that `ends`.
    #[must_use]
    pub fn ending(mut self, ends: bool) -> Self {
        self.ends = ends;
        self
    }

    /// Adds what one of the run's events becomes.
    fn push(&mut self, mut event: Value) -> Result<()> {
        if let Some(delegated) = event.get_mut("delegated") {
            let definition: AgentDefinition = read(delegated["definition"].take())?;
            self.team.add(read(delegated["call"].take())?, definition);
        }
        if let Some(event) = event.get_mut("trace") {
            let event: TraceEvent = read(event.take())?;
            if let Some(about) = &self.traced {
                for (within, told) in trace::of(&self.team, &event) {
                    let mut part = team::about(about, &within);
                    part["eventTime"] = json!(event.time);
                    part["trace"] = told;
                    self.waiting.push_back(("trace", part));
                }
            }
        }
        match event.get_mut("result") {
            Some(result) => self.finish(result.take()),
            None => Ok(()),
        }
    }

    /// Adds the answer, or what the turn is paused for.
    fn finish(&mut self, mut result: Value) -> Result<()> {
        self.is_done = true;
        if self.ends {
            self.waiting
                .push_back(("chunk", json!({"bytes": STANDARD.encode(ENDED)})));
            return match result["summaryFailure"].as_str() {
                None => Ok(()),
                Some(failed) => Err(Error::new(
                    ErrorKind::DependencyFailedException,
                    format!(
                        "The session has ended, and its summary was not made: {failed}. It is tried \
                         again with the next call that asks about its memory."
                    ),
                )),
            };
        }
        let pending: Vec<Pending> = read(result["pending"].take())?;
        if !pending.is_empty() {
            let event = control::event(&self.team, &pending);
            self.waiting.push_back(("returnControl", event));
            return Ok(());
        }
        let message = result["message"].as_str().unwrap_or_default();
        if !message.is_empty() {
            return Err(ended_early(&result["stopReason"], message));
        }
        let text = result["text"].as_str().unwrap_or_default().to_string();
        let citations: Vec<Citation> = read(result["citations"].take())?;
        for (at, part) in parts(&text).enumerate() {
            let mut chunk = json!({"bytes": STANDARD.encode(part)});
            if at == 0 && !citations.is_empty() {
                let citations = citations.iter().map(|one| citation(&text, one));
                chunk["attribution"] = json!({"citations": citations.collect::<Vec<_>>()});
            }
            self.waiting.push_back(("chunk", chunk));
        }
        Ok(())
    }
}

impl OperationEvents for Invoking {
    fn next(&mut self) -> BoxFuture<'_, Option<Result<Event>>> {
        Box::pin(async move {
            loop {
                if let Some(event) = self.waiting.pop_front() {
                    return Some(Ok(event));
                }
                if self.is_done {
                    return self.failed.take().map(Err);
                }
                let told = match self.run.next().await {
                    Ok(Some(batch)) => serde_json::from_str::<Vec<Value>>(&batch)
                        .map_err(|error| Error::internal(error.to_string()).with_source(error)),
                    Ok(None) => Err(Error::internal("a turn ended without a result")),
                    Err(error) => Err(error),
                };
                let pushed = told
                    .and_then(|events| events.into_iter().try_for_each(|event| self.push(event)));
                if let Err(error) = pushed {
                    self.is_done = true;
                    self.failed = Some(error);
                }
            }
        })
    }
}

/// The error of a turn that ended before its answer.
fn ended_early(reason: &Value, message: &str) -> Error {
    let kind = match reason.as_str().unwrap_or_default() {
        "max_steps" | "token_limit" | "time_limit" | "cost_limit" => {
            ErrorKind::ServiceQuotaExceededException
        }
        "stopped" | "interrupted" => ErrorKind::ConflictException,
        _ => ErrorKind::DependencyFailedException,
    };
    Error::new(kind, format!("The turn ended before its answer: {message}"))
}

fn read<T: DeserializeOwned>(value: Value) -> Result<T> {
    serde_json::from_value(value)
        .map_err(|error| Error::internal(format!("an agent's event: {error}")).with_source(error))
}

/// The text in parts of at most as many bytes as a chunk holds; one where it is empty.
fn parts(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let end = text.floor_char_boundary(MAX_CHUNK);
        let (part, after) = text.split_at(end);
        rest = (!after.is_empty()).then_some(after);
        Some(part)
    })
}

fn citation(text: &str, citation: &Citation) -> Value {
    let length = citation.span.end.saturating_sub(citation.span.start);
    let part: String = text
        .chars()
        .skip(citation.span.start)
        .take(length)
        .collect();
    let passages = citation.passages.iter();
    json!({
        "generatedResponsePart": {"textResponsePart": {
            "text": part,
            "span": {"start": citation.span.start, "end": citation.span.end},
        }},
        "retrievedReferences": passages.map(|one| reference_to(one, None)).collect::<Vec<_>>(),
    })
}
