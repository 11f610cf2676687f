//! A session of an agent: its facts in order, the state that they make, and the events they tell.

use std::collections::BTreeMap;

use outcrop_api::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::delegation::Ended;
use crate::digest;
use crate::fact::{Beginning, Entry, Fact, Replied};
use crate::memory::{self, EndedSession, Remembered, SessionEnd};
use crate::toolbox::Target;
use crate::trace::{self, TraceEvent};
use crate::turn::Turn;

/// The state of a session: what its facts have made of it. It does no work of its own.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Conversation {
    /// How many facts it is made of.
    pub facts: usize,
    /// The turn that is under way, or the last one.
    pub turn: Option<Turn>,
    /// Facts about the session, for tools and policies.
    pub session_attributes: BTreeMap<String, String>,
    /// The functions that were run, the oldest first: what rules over the session count. They stay
    /// where a session ends and another one of its id begins: an end must not be a way round a rule.
    pub ran: Vec<Ran>,
    /// When its last fact was recorded, RFC 3339.
    #[serde(default)]
    pub last: String,
    /// The number of the first fact of the session that is open, or was last, and when it was.
    #[serde(default)]
    pub began: (usize, String),
    /// Whether the session has ended: the next turn begins another one of its id.
    #[serde(default)]
    pub is_closed: bool,
    /// What the session that is open, or was last, had read of earlier ones.
    #[serde(default)]
    pub memory: Option<Remembered>,
    /// The sessions of its id that have ended and that a memory keeps.
    #[serde(default)]
    pub ended: Vec<EndedSession>,
}

/// A function that was run, or may have been.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Ran {
    /// When, RFC 3339.
    pub time: String,
    /// The agent that it was run for, where work was handed to it; none for the session's own.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub agent: String,
    /// Its action group.
    pub action_group: String,
    /// Its name.
    pub function: String,
    /// Its arguments.
    pub arguments: Value,
}

impl Conversation {
    /// Applies the next fact, and gives the events that it tells: the same fact after the same
    /// facts tells the same events, byte for byte.
    ///
    /// # Errors
    /// `ConflictException` where it cannot follow: the state stays as it was.
    pub fn apply(&mut self, entry: &Entry) -> Result<Vec<TraceEvent>> {
        let events = match &entry.fact {
            Fact::Closed { reason } => self.close(entry, *reason)?,
            Fact::Summarized { start, replied } => self.summarize(entry, *start, replied)?,
            _ => return self.apply_to_turn(entry),
        };
        self.facts += 1;
        self.last.clone_from(&entry.time);
        Ok(events)
    }

    /// Applies a fact of a turn.
    fn apply_to_turn(&mut self, entry: &Entry) -> Result<Vec<TraceEvent>> {
        let mut ended = Ended::new();
        let mut turn = match (&entry.fact, &self.turn) {
            (Fact::Begun(beginning), before) => self.begin(beginning, before.as_ref())?,
            (_, Some(_)) if self.is_closed => {
                return Err(Error::conflict("the session has ended"));
            }
            (fact, Some(turn)) => {
                let mut turn = turn.clone();
                turn.apply(fact, &mut ended)?;
                turn
            }
            (_, None) => return Err(Error::conflict("no turn of the session has begun")),
        };
        if let Fact::Begun(beginning) = &entry.fact {
            if self.starts_session() {
                self.session_attributes.clear();
                self.began = (self.facts + 1, entry.time.clone());
                self.is_closed = false;
                self.memory.clone_from(&beginning.memory);
            }
            self.session_attributes
                .extend(beginning.session_attributes.clone());
            turn.beginning
                .session_attributes
                .clone_from(&self.session_attributes);
            turn.beginning.memory.clone_from(&self.memory);
        }
        if let Fact::Ended(end) = &entry.fact {
            self.session_attributes
                .extend(end.session_attributes.clone());
        }
        if let Some(before) = self.turn.take() {
            self.count(&entry.time, &entry.fact, &before);
            self.turn = Some(before);
        }
        self.facts += 1;
        self.last.clone_from(&entry.time);
        let events = trace::events(self.facts, entry, self.turn.as_ref(), &turn, &ended)?;
        self.turn = Some(turn);
        Ok(events)
    }

    /// Whether the next turn begins a session: there was none of its id, or it has ended.
    pub fn starts_session(&self) -> bool {
        self.turn.is_none() || self.is_closed
    }

    fn begin(&self, beginning: &Beginning, before: Option<&Turn>) -> Result<Turn> {
        if before.is_some_and(|turn| turn.ending().is_none()) {
            return Err(Error::conflict(
                "the session's last turn has not ended: resume it or stop it",
            ));
        }
        if beginning.memory.is_some() && !self.starts_session() {
            return Err(Error::conflict(
                "the session is under way: its memory was read when it began",
            ));
        }
        let number = before.map_or(1, |turn| turn.number + 1);
        let Some(before) = before.filter(|_| !self.is_closed) else {
            return Ok(Turn::new(number, beginning.clone(), Vec::new()));
        };
        let mut turn = Turn::new(number, beginning.clone(), before.messages.clone());
        turn.threads.clone_from(&before.threads);
        turn.carried.clone_from(&before.carried);
        Ok(turn)
    }

    /// Ends the session, and keeps what a memory is made of.
    fn close(&mut self, entry: &Entry, reason: SessionEnd) -> Result<Vec<TraceEvent>> {
        let turn = self.turn.as_ref().filter(|_| !self.is_closed);
        let turn = turn.ok_or_else(|| Error::conflict("no session is open"))?;
        if turn.ending().is_none() {
            return Err(Error::conflict(
                "the session's last turn has not ended: resume it or stop it",
            ));
        }
        if let Some(memory) = self.memory.clone() {
            self.ended.push(EndedSession {
                start: self.began.0,
                began: self.began.1.clone(),
                ended: entry.time.clone(),
                turn: turn.number,
                ..EndedSession::of(turn.agent(), &turn.messages, memory)
            });
        }
        self.is_closed = true;
        Ok(trace::session_ended(
            self.facts + 1,
            entry,
            turn.number,
            reason,
        ))
    }

    /// Keeps the summary of a session that has ended, where a reply is one.
    fn summarize(
        &mut self,
        entry: &Entry,
        start: usize,
        replied: &Replied,
    ) -> Result<Vec<TraceEvent>> {
        let session = self.ended.iter_mut().find(|one| one.start == start);
        let session = session.filter(|one| one.summary.is_none()).ok_or_else(|| {
            Error::conflict(format!(
                "step {start}: no session that began there waits for its summary"
            ))
        })?;
        if digest::of_json(&session.request()?) != replied.request {
            return Err(Error::conflict(
                "the recorded summary is not one of what the session asks the model",
            ));
        }
        let events = trace::summarized(self.facts + 1, entry, session, replied)?;
        if let Ok(summary) = memory::summary(&replied.reply) {
            session.summary = Some(summary);
            session.said.clear();
        }
        Ok(events)
    }

    /// Notes the functions that a fact says were run, of what the turn `before` it had asked for.
    fn count(&mut self, time: &str, fact: &Fact, before: &Turn) {
        let ids: Vec<&String> = match fact {
            Fact::Within { fact, .. } => return self.count(time, fact, before),
            Fact::Started { calls } => calls.iter().collect(),
            Fact::Answered { answers } => {
                let results = answers
                    .iter()
                    .filter(|answer| matches!(answer.answer, crate::fact::CallAnswer::Result(_)));
                results.map(|answer| &answer.call).collect()
            }
            _ => return,
        };
        for id in ids {
            let turns = before.down_to(id);
            let Some(turn) = turns.last() else {
                continue;
            };
            let call = turn.calls.iter().find(|call| call.id == *id);
            if let Some(call) = call
                && let Some(Target::Function {
                    action_group,
                    function,
                    ..
                }) = &call.target
            {
                self.ran.push(Ran {
                    time: time.to_string(),
                    agent: turn
                        .chain()
                        .last()
                        .map_or(String::new(), |last| last.agent_id.clone()),
                    action_group: action_group.clone(),
                    function: function.clone(),
                    arguments: call.arguments.clone(),
                });
            }
        }
    }
}
