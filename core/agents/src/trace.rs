//! The trace: what a fact tells, each event bound by hash to what it tells of.

use outcrop_api::{Citation, ContentBlock, Result, StopReason, Usage};
use serde::{Deserialize, Serialize};

use crate::call::Call;
use crate::digest;
use crate::fact::{Answer, Effect, Entry, Fact, ModelReply, Outcome};
use crate::step::{EndReason, Pending, Spent, Step};
use crate::toolbox::Target;
use crate::turn::Turn;

/// One event of a trace.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TraceEvent {
    /// The number of the fact that it tells of, from 1: a step to replay to, or to fork from.
    pub step: usize,
    /// The turn.
    pub turn: usize,
    /// When the fact was recorded.
    pub time: String,
    /// SHA-256 of what it tells of, as JSON, in hexadecimal: the model call's request, its reply,
    /// the call with its arguments, its outcome, the answer.
    pub digest: String,
    /// What it tells.
    pub event: Event,
}

/// What an event tells.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Event {
    /// A turn began with this.
    Input {
        /// What the user says.
        text: String,
    },
    /// The model was asked.
    #[serde(rename_all = "camelCase")]
    ModelInvocationInput {
        /// The model.
        model: String,
        /// The request, as JSON: what the digest is of.
        text: String,
    },
    /// It answered.
    #[serde(rename_all = "camelCase")]
    ModelInvocationOutput {
        /// Its blocks.
        content: Vec<ContentBlock>,
        /// Why it ended.
        stop_reason: StopReason,
        /// Tokens read and made.
        usage: Usage,
        /// Dollars, by the agent's price.
        cost: f64,
        /// Milliseconds that it took.
        took_ms: u64,
    },
    /// What it said before it called.
    Rationale {
        /// Its words.
        text: String,
    },
    /// A call was decided.
    Decision {
        /// The call.
        call: CallSummary,
        /// What was decided.
        effect: Effect,
        /// By which rule.
        rule: String,
    },
    /// The turn was paused: its caller is asked.
    ApprovalRequest {
        /// What is asked.
        pending: Vec<Pending>,
    },
    /// The caller answered.
    ApprovalResponse {
        /// What was answered.
        answer: Answer,
    },
    /// A call is being run from now on.
    InvocationInput {
        /// The call.
        call: CallSummary,
    },
    /// What came of a call.
    #[serde(rename_all = "camelCase")]
    Observation {
        /// The call.
        call: CallSummary,
        /// What came.
        outcome: Outcome,
        /// Milliseconds that it took.
        took_ms: u64,
    },
    /// The turn's answer.
    #[serde(rename_all = "camelCase")]
    FinalResponse {
        /// Why it ended.
        reason: EndReason,
        /// The answer.
        text: String,
        /// What it rests on.
        citations: Vec<Citation>,
        /// What the turn has used.
        spent: Spent,
    },
    /// The turn ended before its answer.
    #[serde(rename_all = "camelCase")]
    Failure {
        /// Why.
        reason: EndReason,
        /// In words.
        message: String,
        /// What the turn has used.
        spent: Spent,
    },
    /// A person changed the course of the session.
    Edited {},
}

/// A call, as an event names it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CallSummary {
    /// Its id.
    pub id: String,
    /// The name that the model called.
    pub tool: String,
    /// What it leads to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Target>,
    /// The arguments.
    pub arguments: serde_json::Value,
}

impl CallSummary {
    fn of(call: &Call) -> Self {
        Self {
            id: call.id.clone(),
            tool: call.tool.clone(),
            target: call.target.clone(),
            arguments: call.arguments.clone(),
        }
    }
}

/// The events that the fact `entry`, the `step`th, tells: it made `after` of `before`.
pub(crate) fn events(
    step: usize,
    entry: &Entry,
    before: Option<&Turn>,
    after: &Turn,
) -> Result<Vec<TraceEvent>> {
    let mut told = Told {
        events: Vec::new(),
        step,
        turn: after.number,
        time: &entry.time,
    };
    let summary = |id: &str| {
        after
            .calls
            .iter()
            .find(|call| call.id == id)
            .map(CallSummary::of)
    };
    match &entry.fact {
        Fact::Begun(beginning) => {
            let text = beginning.input.clone();
            told.add(digest::of_json(&**beginning), Event::Input { text });
        }
        Fact::Replied(replied) => {
            if let Some(before) = before {
                told.model_call(before, replied)?;
            }
            // What cannot be run ends where it is asked for.
            if before.is_none_or(|before| before.spent.steps < after.spent.steps) {
                for call in &after.calls {
                    told.ended_unrun(call, replied);
                }
            }
        }
        Fact::Decided { verdicts } => {
            for verdict in verdicts {
                if let Some(call) = summary(&verdict.call) {
                    let event = Event::Decision {
                        call,
                        effect: verdict.effect,
                        rule: verdict.rule.clone(),
                    };
                    told.add(digest::of_json(verdict), event);
                }
            }
        }
        Fact::Started { calls } => {
            for call in calls.iter().filter_map(|id| summary(id)) {
                told.add(digest::of_json(&call), Event::InvocationInput { call });
            }
        }
        Fact::Ended(end) => told.observation(summary(&end.call), &end.outcome, end.took_ms),
        Fact::Lost { calls } => {
            for id in calls {
                told.observation(summary(id), &Outcome::Unknown {}, 0);
            }
        }
        Fact::Answered { answers } => {
            for answer in answers {
                told.add(
                    digest::of_json(answer),
                    Event::ApprovalResponse {
                        answer: answer.clone(),
                    },
                );
                let call = after.calls.iter().find(|call| call.id == answer.call);
                if let Some((call, outcome)) = call.and_then(|call| Some((call, call.outcome()?))) {
                    told.observation(Some(CallSummary::of(call)), outcome, 0);
                }
            }
        }
        Fact::Edited { edit } => told.add(digest::of_json(edit), Event::Edited {}),
        Fact::Cited { .. } | Fact::Stopped { .. } => {}
    }
    told.what_follows(before, after)?;
    Ok(told.events)
}

struct Told<'a> {
    events: Vec<TraceEvent>,
    step: usize,
    turn: usize,
    time: &'a str,
}

impl Told<'_> {
    fn add(&mut self, digest: String, event: Event) {
        self.events.push(TraceEvent {
            step: self.step,
            turn: self.turn,
            time: self.time.to_string(),
            digest,
            event,
        });
    }

    fn model_call(&mut self, before: &Turn, replied: &crate::fact::Replied) -> Result<()> {
        let request = before.request()?;
        let input = Event::ModelInvocationInput {
            model: before.agent().model.clone(),
            text: serde_json::to_string(&request).unwrap_or_default(),
        };
        self.add(replied.request.clone(), input);
        let ModelReply::Answered {
            content,
            stop_reason,
            usage,
        } = &replied.reply
        else {
            return Ok(());
        };
        let digest = digest::of_json(&replied.reply);
        let output = Event::ModelInvocationOutput {
            content: content.clone(),
            stop_reason: *stop_reason,
            usage: *usage,
            cost: before.agent().price.of(usage),
            took_ms: replied.took_ms,
        };
        self.add(digest.clone(), output);
        let calls = content
            .iter()
            .any(|block| matches!(block, ContentBlock::ToolUse(_)));
        let words = content.iter().filter_map(|block| match block {
            ContentBlock::ReasoningContent(outcrop_api::ReasoningContent::ReasoningText(
                thought,
            )) => Some(thought.text.as_str()),
            ContentBlock::Text(text) if calls => Some(text.as_str()),
            _ => None,
        });
        let text = words.collect::<Vec<_>>().join("\n");
        if !text.trim().is_empty() {
            self.add(digest, Event::Rationale { text });
        }
        Ok(())
    }

    fn ended_unrun(&mut self, call: &Call, replied: &crate::fact::Replied) {
        let asked = matches!(&replied.reply, ModelReply::Answered { content, .. }
            if content.iter().any(|block| matches!(block, ContentBlock::ToolUse(_))));
        match call.outcome() {
            Some(outcome) if asked && !outcome.ran() => {
                self.observation(Some(CallSummary::of(call)), outcome, 0);
            }
            _ => {}
        }
    }

    fn observation(&mut self, call: Option<CallSummary>, outcome: &Outcome, took_ms: u64) {
        if let Some(call) = call {
            let outcome = outcome.clone();
            self.add(
                digest::of_json(&outcome),
                Event::Observation {
                    call,
                    outcome,
                    took_ms,
                },
            );
        }
    }

    /// That the turn is paused, or has ended, from this fact on.
    fn what_follows(&mut self, before: Option<&Turn>, after: &Turn) -> Result<()> {
        let was = before.filter(|before| before.number == after.number);
        if let Some(ending) = after.ending() {
            if was.is_some_and(|before| before.ending().is_some()) {
                return Ok(());
            }
            let (reason, spent) = (ending.reason, after.spent);
            let event = match ending.message.is_empty() {
                true => Event::FinalResponse {
                    reason,
                    text: ending.text.clone(),
                    citations: ending.citations.clone(),
                    spent,
                },
                false => Event::Failure {
                    reason,
                    message: ending.message.clone(),
                    spent,
                },
            };
            self.add(digest::of_json(ending), event);
            return Ok(());
        }
        if let Some(pending) = paused(after)?
            && was.map(paused).transpose()?.flatten().as_ref() != Some(&pending)
        {
            self.add(
                digest::of_json(&pending),
                Event::ApprovalRequest { pending },
            );
        }
        Ok(())
    }
}

/// What a turn is paused for.
fn paused(turn: &Turn) -> Result<Option<Vec<Pending>>> {
    if turn.calls.iter().all(|call| call.outcome().is_some()) {
        return Ok(None);
    }
    match turn.next()? {
        Step::AskApproval(pending) => Ok(Some(pending)),
        _ => Ok(None),
    }
}
