//! A session of an agent: its facts in order, the state that they make, and the events they tell.

use std::collections::BTreeMap;

use outcrop_api::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::delegation::Ended;
use crate::fact::{Entry, Fact};
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
    /// The functions that were run, the oldest first: what rules over the session count.
    pub ran: Vec<Ran>,
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
        let mut ended = Ended::new();
        let mut turn = match (&entry.fact, &self.turn) {
            (Fact::Begun(beginning), before) => {
                if before.as_ref().is_some_and(|turn| turn.ending().is_none()) {
                    return Err(Error::conflict(
                        "the session's last turn has not ended: resume it or stop it",
                    ));
                }
                let messages = before.as_ref().map(|turn| turn.messages.clone());
                let number = before.as_ref().map_or(1, |turn| turn.number + 1);
                let mut turn =
                    Turn::new(number, (**beginning).clone(), messages.unwrap_or_default());
                if let Some(before) = before {
                    turn.threads.clone_from(&before.threads);
                    turn.carried.clone_from(&before.carried);
                }
                turn
            }
            (fact, Some(turn)) => {
                let mut turn = turn.clone();
                turn.apply(fact, &mut ended)?;
                turn
            }
            (_, None) => return Err(Error::conflict("no turn of the session has begun")),
        };
        if let Fact::Begun(beginning) = &entry.fact {
            self.session_attributes
                .extend(beginning.session_attributes.clone());
            turn.beginning
                .session_attributes
                .clone_from(&self.session_attributes);
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
        let events = trace::events(self.facts, entry, self.turn.as_ref(), &turn, &ended)?;
        self.turn = Some(turn);
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
