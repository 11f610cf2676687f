//! The trace: what a fact tells, each event bound by hash to what it tells of.

use outcrop_api::{Citation, ContentBlock, Result, StopReason, Usage};
use serde::{Deserialize, Serialize};

use crate::call::Call;
use crate::delegation::{Delegation, Ended, Part};
use crate::digest;
use crate::fact::{Answer, Effect, Entry, Fact, ModelReply, Outcome};
use crate::memory::{self, EndedSession, Remembered, SessionEnd};
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
    /// The delegations that it happened within, the outermost first; none where it is of the
    /// session's own agent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub within: Vec<Delegation>,
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
        /// Whether it is asked only which collaborator answers.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        routes: bool,
        /// Whether it is asked to sum up a session that has ended.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        summarizes: bool,
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
        /// Whether it was asked only which collaborator answers.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        routes: bool,
        /// Whether it was asked to sum up a session that has ended.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        summarizes: bool,
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
        /// The ids of the Cedar policies that decided.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        policies: Vec<String>,
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
    /// A session began with what its memory holds of earlier ones.
    MemoryRead {
        /// What was read, and what is missing.
        memory: Remembered,
    },
    /// The session ended.
    SessionEnded {
        /// Why.
        reason: SessionEnd,
    },
    /// What a session that has ended held, as its memory keeps it.
    Summary {
        /// In the words of the model.
        text: String,
    },
    /// No summary was made of a session that has ended: it is tried again.
    SummaryFailure {
        /// Why.
        message: String,
    },
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
    ended: &Ended,
) -> Result<Vec<TraceEvent>> {
    let mut told = Told::of(step, entry, after.number, ended);
    told.turn(&entry.fact, before, after)?;
    told.pause(before, after)?;
    Ok(told.events)
}

/// The event that a session's end tells, in its turn `turn`.
pub(crate) fn session_ended(
    step: usize,
    entry: &Entry,
    turn: usize,
    reason: SessionEnd,
) -> Vec<TraceEvent> {
    let ended = Ended::new();
    let mut told = Told::of(step, entry, turn, &ended);
    told.add(digest::of_json(&entry.fact), Event::SessionEnded { reason });
    told.events
}

/// The events that summing up `session` tells.
pub(crate) fn summarized(
    step: usize,
    entry: &Entry,
    session: &EndedSession,
    replied: &crate::fact::Replied,
) -> Result<Vec<TraceEvent>> {
    let ended = Ended::new();
    let mut told = Told::of(step, entry, session.turn, &ended);
    let request = session.request()?;
    let input = Event::ModelInvocationInput {
        model: session.model.clone(),
        text: serde_json::to_string(&request).unwrap_or_default(),
        routes: false,
        summarizes: true,
    };
    told.add(replied.request.clone(), input);
    let digest = digest::of_json(&replied.reply);
    if let ModelReply::Answered {
        content,
        stop_reason,
        usage,
    } = &replied.reply
    {
        let output = Event::ModelInvocationOutput {
            content: content.clone(),
            stop_reason: *stop_reason,
            usage: *usage,
            cost: session.price.of(usage),
            took_ms: replied.took_ms,
            routes: false,
            summarizes: true,
        };
        told.add(digest.clone(), output);
    }
    let last = match memory::summary(&replied.reply) {
        Ok(text) => Event::Summary { text },
        Err(message) => Event::SummaryFailure { message },
    };
    told.add(digest, last);
    Ok(told.events)
}

struct Told<'a> {
    events: Vec<TraceEvent>,
    step: usize,
    turn: usize,
    time: &'a str,
    /// The delegations that are told of.
    within: Vec<Delegation>,
    /// The turns of collaborators that the fact has ended.
    ended: &'a Ended,
}

impl<'a> Told<'a> {
    fn of(step: usize, entry: &'a Entry, turn: usize, ended: &'a Ended) -> Self {
        Self {
            events: Vec::new(),
            step,
            turn,
            time: &entry.time,
            within: Vec::new(),
            ended,
        }
    }

    /// Tells what a fact is for a turn and those that it handed work to, and how they end.
    fn turn(&mut self, fact: &Fact, before: Option<&Turn>, after: &Turn) -> Result<()> {
        // The fact that begins a turn is of no turn before it.
        let was = before.filter(|_| !matches!(fact, Fact::Begun(_)));
        let parts = match was {
            Some(before) => before.parts(fact),
            None => vec![Part::Own(fact.clone())],
        };
        for part in parts {
            match part {
                Part::Own(fact) => self.own(&fact, before, after)?,
                Part::Within(call, fact) => {
                    let before = was.and_then(|turn| working(turn, &call));
                    let ended = self.ended;
                    let here = working(after, &call).or_else(|| find(ended, &call));
                    if let (None, Fact::Begun(_)) = (before, &fact)
                        && let Some(call) = summary(after, &call)
                    {
                        self.add(digest::of_json(&call), Event::InvocationInput { call });
                    }
                    if let Some(here) = here {
                        self.down(here, |told| told.turn(&fact, before, here))?;
                    }
                }
            }
        }
        self.ends_of(was, after)?;
        self.ending(was, after);
        Ok(())
    }

    /// Tells that work which was handed on has come to its end.
    fn ends_of(&mut self, before: Option<&Turn>, after: &Turn) -> Result<()> {
        let ended = self.ended;
        for call in &after.calls {
            let was = before.and_then(|turn| working(turn, &call.id));
            if let (Some(was), Some(turn), Some(outcome)) =
                (was, find(ended, &call.id), call.outcome())
            {
                // An end that came from above is told here; its own was told with its fact.
                let id = &call.id;
                let told = self.events.iter().any(|event| {
                    let last = event.within.last();
                    last.is_some_and(|last| last.call == *id)
                        && matches!(
                            event.event,
                            Event::FinalResponse { .. } | Event::Failure { .. }
                        )
                });
                if !told {
                    self.down(turn, |told| {
                        told.ending(Some(was), turn);
                        Ok(())
                    })?;
                }
                self.observation(Some(CallSummary::of(call)), outcome, turn.spent.took_ms);
            }
        }
        Ok(())
    }

    /// Tells of a turn that work was handed to.
    fn down(&mut self, turn: &Turn, tell: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        let above = std::mem::replace(&mut self.within, turn.chain().to_vec());
        let told = tell(self);
        self.within = above;
        told
    }

    /// Tells what a fact is for the turn that it is of.
    fn own(&mut self, fact: &Fact, before: Option<&Turn>, after: &Turn) -> Result<()> {
        match fact {
            Fact::Begun(beginning) => {
                let text = beginning.input.clone();
                self.add(digest::of_json(&**beginning), Event::Input { text });
                if let Some(memory) = beginning.memory.clone() {
                    self.add(digest::of_json(&memory), Event::MemoryRead { memory });
                }
            }
            Fact::Replied(replied) => {
                if let Some(before) = before {
                    self.model_call(before, replied)?;
                }
                // What cannot be run ends where it is asked for.
                if before.is_none_or(|before| before.spent.steps < after.spent.steps) {
                    for call in &after.calls {
                        self.ended_unrun(call, before, replied);
                    }
                }
            }
            Fact::Decided { verdicts } => {
                for verdict in verdicts {
                    if let Some(call) = summary(after, &verdict.call) {
                        let event = Event::Decision {
                            call,
                            effect: verdict.effect,
                            rule: verdict.rule.clone(),
                            policies: verdict.policies.clone(),
                        };
                        self.add(digest::of_json(verdict), event);
                    }
                }
            }
            Fact::Started { calls } => {
                for call in calls.iter().filter_map(|id| summary(after, id)) {
                    self.add(digest::of_json(&call), Event::InvocationInput { call });
                }
            }
            Fact::Ended(end) => {
                self.observation(summary(after, &end.call), &end.outcome, end.took_ms);
            }
            Fact::Lost { calls } => {
                for id in calls {
                    self.observation(summary(after, id), &Outcome::Unknown {}, 0);
                }
            }
            Fact::Answered { answers } => self.answers(answers, after),
            Fact::Edited { edit } => self.add(digest::of_json(edit), Event::Edited {}),
            Fact::Cited { .. }
            | Fact::Stopped { .. }
            | Fact::Within { .. }
            | Fact::Closed { .. }
            | Fact::Summarized { .. } => {}
        }
        Ok(())
    }

    fn answers(&mut self, answers: &[Answer], after: &Turn) {
        for answer in answers {
            let event = Event::ApprovalResponse {
                answer: answer.clone(),
            };
            self.add(digest::of_json(answer), event);
            let call = after.calls.iter().find(|call| call.id == answer.call);
            if let Some((call, outcome)) = call.and_then(|call| Some((call, call.outcome()?))) {
                self.observation(Some(CallSummary::of(call)), outcome, 0);
            }
        }
    }

    fn add(&mut self, digest: String, event: Event) {
        self.events.push(TraceEvent {
            step: self.step,
            turn: self.turn,
            time: self.time.to_string(),
            digest,
            within: self.within.clone(),
            event,
        });
    }

    fn model_call(&mut self, before: &Turn, replied: &crate::fact::Replied) -> Result<()> {
        let call = before.model_call()?;
        let input = Event::ModelInvocationInput {
            model: before.agent().model.clone(),
            text: call.text.clone(),
            routes: before.is_routing(),
            summarizes: false,
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
            routes: before.is_routing(),
            summarizes: false,
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

    fn ended_unrun(&mut self, call: &Call, before: Option<&Turn>, replied: &crate::fact::Replied) {
        let routes = before.is_some_and(Turn::is_routing);
        let asked = matches!(&replied.reply, ModelReply::Answered { content, .. }
            if content.iter().any(|block| matches!(block, ContentBlock::ToolUse(_))));
        match call.outcome() {
            Some(outcome) if (asked || routes) && !outcome.ran() => {
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

    /// That a turn has ended, from this fact on.
    fn ending(&mut self, before: Option<&Turn>, after: &Turn) {
        let Some(ending) = after.ending() else {
            return;
        };
        if before.is_some_and(|before| before.ending().is_some()) {
            return;
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
    }

    /// That the session's turn is paused, from this fact on.
    fn pause(&mut self, before: Option<&Turn>, after: &Turn) -> Result<()> {
        let was = before.filter(|before| before.number == after.number);
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

fn summary(turn: &Turn, id: &str) -> Option<CallSummary> {
    let call = turn.calls.iter().find(|call| call.id == id);
    call.map(CallSummary::of)
}

/// The turn of the agent that works on the call `id`.
fn working<'a>(turn: &'a Turn, id: &str) -> Option<&'a Turn> {
    let call = turn.calls.iter().find(|call| call.id == id);
    call.and_then(Call::working)
}

fn find<'a>(ended: &'a Ended, id: &str) -> Option<&'a Turn> {
    let found = ended.iter().find(|(call, _)| call == id);
    found.map(|(_, turn)| turn)
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
