//! What a turn gives its caller.

use outcrop_agents::{Conversation, EndReason, EndedSession, Pending, Spent, Step, TraceEvent};
use outcrop_api::{Citation, Result};
use serde::Serialize;

use super::recorded::summary_failure;

/// What is known of an agent.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentInfo {
    /// Its id.
    pub id: String,
    /// Its ARN.
    pub arn: String,
    /// Its name.
    pub name: String,
    /// What it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// When it was made.
    pub created_at: String,
    /// What it is made of.
    pub definition: outcrop_agents::AgentDefinition,
}

/// Where a turn stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", untagged)]
pub enum StopReason {
    /// It has ended.
    Ended(EndReason),
    /// It waits, for an approval or a result.
    Paused(Paused),
}

/// What a turn waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Paused {
    /// For its caller: `pending` says what for.
    Pending,
    /// For nobody: the process that drove it is gone. Resuming it goes on.
    Interrupted,
}

/// What a turn gives its caller when it ends or is paused.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentResult {
    /// The agent's id.
    pub agent_id: String,
    /// The session.
    pub session_id: String,
    /// The turn's number in it, from 1.
    pub turn: usize,
    /// The answer; what the model said last where the turn ended before one; empty where it is
    /// paused.
    pub text: String,
    /// What the answer rests on.
    pub citations: Vec<Citation>,
    /// Where it stands.
    pub stop_reason: StopReason,
    /// What was wrong, where it ended before its answer.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// What it is paused for.
    pub pending: Vec<Pending>,
    /// What it has used.
    pub spent: Spent,
    /// The trace of the turn.
    pub trace: Vec<TraceEvent>,
    /// Whether the session has ended: the next turn begins another one of its id.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub session_ended: bool,
    /// What it held, as its memory keeps it, where it has ended and one was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
    /// Why no summary was made, where it has ended and its memory is to keep one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary_failure: Option<String>,
}

impl AgentResult {
    /// Where the last turn of `conversation` stands; none where none has begun.
    pub(super) fn of(
        agent_id: &str,
        session_id: &str,
        conversation: &Conversation,
        trace: &[TraceEvent],
    ) -> Result<Option<Self>> {
        let Some(turn) = &conversation.turn else {
            return Ok(None);
        };
        let mut result = Self {
            agent_id: agent_id.to_string(),
            session_id: session_id.to_string(),
            turn: turn.number,
            text: String::new(),
            citations: Vec::new(),
            stop_reason: StopReason::Paused(Paused::Interrupted),
            message: String::new(),
            pending: Vec::new(),
            spent: turn.spent,
            session_ended: conversation.is_closed,
            summary: None,
            summary_failure: None,
            trace: trace
                .iter()
                .filter(|event| event.turn == turn.number)
                .cloned()
                .collect(),
        };
        let of_this = |one: &&EndedSession| one.start == conversation.began.0;
        if let Some(ended) = conversation.ended.last().filter(of_this) {
            result.summary.clone_from(&ended.summary);
            if ended.summary.is_none() {
                result.summary_failure = summary_failure(trace);
            }
        }
        match turn.next()? {
            Step::Done(ending) => {
                result.stop_reason = StopReason::Ended(ending.reason);
                result.text = ending.text;
                result.message = ending.message;
                result.citations = ending.citations;
            }
            Step::AskApproval(pending) => {
                result.stop_reason = StopReason::Paused(Paused::Pending);
                result.pending = pending;
            }
            _ => {}
        }
        Ok(Some(result))
    }
}
