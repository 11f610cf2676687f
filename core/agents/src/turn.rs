//! One turn of a conversation as a state machine: its state, and what it needs next.

mod apply;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use outcrop_api::{ContentBlock, ConverseRequest, Error, Message, Passage, Result, Role, ToolUse};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::asked::{Asked, ModelCall};
use crate::call::{Call, Status};
use crate::definition::{AgentDefinition, Collaboration, Execution};
use crate::delegation::{Ended, Part, Thread, Under};
use crate::digest;
use crate::fact::{
    Answer, Beginning, CallAnswer, CallEnd, Edit, Effect, Fact, ModelReply, Outcome, Replied,
    Verdict,
};
use crate::prompt;
use crate::routing;
use crate::schema;
use crate::step::{Asks, EndReason, Ending, Need, Spent, Step};
use crate::toolbox::{Target, Toolbox};

/// Times that a call may be asked for again after it was refused as a repetition, before the turn
/// ends.
const REPEATS_PAST_REFUSAL: usize = 2;

/// One turn. Its whole state is data: it can be written, read elsewhere, and go on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Turn {
    /// Its number in its session, from 1.
    pub number: usize,
    /// What it began with.
    pub beginning: Beginning,
    /// The conversation, those of earlier turns included.
    pub messages: Vec<Message>,
    /// What it has used.
    pub spent: Spent,
    /// The calls of the model's latest reply.
    pub calls: Vec<Call>,
    /// The passages that its look-ups found.
    pub passages: Vec<Passage>,
    /// How often each call was asked for, by the digest of its name and arguments.
    asked: BTreeMap<String, usize>,
    /// What it knows of the turns above it, where it is a collaborator's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) under: Option<Under>,
    /// What its collaborators remember of the session, by their names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) threads: BTreeMap<String, Thread>,
    /// The kinds of text that its collaborators have read.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(crate) carried: BTreeSet<String>,
    pub(crate) phase: Phase,
    /// What it asks its model, where it was needed since the turn changed.
    #[serde(skip)]
    pub(crate) asked_model: Asked,
}

/// What a turn is at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Phase {
    /// The model of a router is asked who answers.
    Routing {},
    Asking {},
    Acting {},
    /// One collaborator answers alone.
    Routed {},
    Citing {
        content: Vec<ContentBlock>,
        reason: EndReason,
    },
    Done(Ending),
}

impl Turn {
    /// The turn `number`, after the messages of those before it.
    pub(crate) fn new(number: usize, beginning: Beginning, messages: Vec<Message>) -> Self {
        let mut turn = Self {
            number,
            messages,
            spent: Spent::default(),
            calls: Vec::new(),
            passages: Vec::new(),
            asked: BTreeMap::new(),
            under: None,
            threads: BTreeMap::new(),
            carried: BTreeSet::new(),
            phase: Phase::Asking {},
            asked_model: Asked::default(),
            beginning,
        };
        let agent = turn.agent();
        let routes = agent.collaboration == Collaboration::SupervisorRouter;
        if routes && !agent.collaborators.is_empty() {
            turn.phase = Phase::Routing {};
        }
        let input = turn.beginning.input.clone();
        turn.say(vec![ContentBlock::Text(input)]);
        turn
    }

    /// The agent as it is for this turn.
    pub fn agent(&self) -> &AgentDefinition {
        &self.beginning.definition
    }

    /// Whether its model is asked which collaborator answers.
    pub fn is_routing(&self) -> bool {
        self.phase == (Phase::Routing {})
    }

    /// How it ended, where it has.
    pub fn ending(&self) -> Option<&Ending> {
        match &self.phase {
            Phase::Done(ending) => Some(ending),
            _ => None,
        }
    }

    /// What it needs next, or one of those that it handed work to.
    ///
    /// # Errors
    /// As [`Turn::needs`].
    pub fn next(&self) -> Result<Step> {
        Ok(self.needs()?.step)
    }

    /// What is needed next, and by whom.
    ///
    /// # Errors
    /// `InternalServerException` where the agent's tools cannot be told, which its check excludes.
    pub fn needs(&self) -> Result<Need> {
        let step = match &self.phase {
            Phase::Done(ending) => Step::Done(ending.clone()),
            Phase::Citing { content, .. } => Step::Cite {
                content: content.clone(),
                passages: self.passages.clone(),
            },
            Phase::Asking {} | Phase::Routing {} => Step::AskModel(self.model_call()?),
            Phase::Acting {} | Phase::Routed {} => return self.needs_of_calls(),
        };
        let within = Vec::new();
        Ok(Need { within, step })
    }

    fn needs_of_calls(&self) -> Result<Need> {
        let own = |step| Need {
            within: Vec::new(),
            step,
        };
        if let Some(step) = self.next_calls() {
            return Ok(own(step));
        }
        let (mut waiting, mut pending) = (Vec::new(), Vec::new());
        for call in &self.calls {
            if call.status == (Status::Started {}) {
                waiting.push(call.id.clone());
            }
            if let Some(asks) = asks(call) {
                pending.push(self.pending(call.clone(), asks));
            }
            let Some(turn) = call.working() else {
                continue;
            };
            let mut need = turn.needs()?;
            match need.step {
                Step::Await(calls) => waiting.extend(calls),
                Step::AskApproval(of) => pending.extend(of),
                _ => {
                    need.within.insert(0, call.id.clone());
                    return Ok(need);
                }
            }
        }
        Ok(own(match waiting.is_empty() {
            true => Step::AskApproval(pending),
            false => Step::Await(waiting),
        }))
    }

    fn next_calls(&self) -> Option<Step> {
        let those = |holds: &dyn Fn(&Call) -> bool| -> Vec<Call> {
            self.calls
                .iter()
                .filter(|call| holds(call))
                .cloned()
                .collect()
        };
        let undecided = those(&waits_for_policy);
        if !undecided.is_empty() {
            return Some(Step::Authorize(undecided));
        }
        let ready_and = |is_kind: &dyn Fn(&Target) -> bool| {
            those(&|call| {
                call.status == Status::Ready {} && call.target.as_ref().is_some_and(is_kind)
            })
        };
        let functions = ready_and(&|target| execution(target) == Some(Execution::Caller));
        if !functions.is_empty() {
            return Some(Step::CallTools(functions));
        }
        let served = ready_and(&|target| execution(target) == Some(Execution::Runtime));
        if !served.is_empty() {
            return Some(Step::CallEndpoints(served));
        }
        let look_ups = ready_and(&|target| matches!(target, Target::KnowledgeBase { .. }));
        if !look_ups.is_empty() {
            return Some(Step::LookUp(look_ups));
        }
        let handed = ready_and(&|target| matches!(target, Target::Collaborator { .. }));
        let at_work = |target: &Option<Target>| {
            let mut calls = self.calls.iter();
            calls.any(|call| call.working().is_some() && call.target == *target)
        };
        // An agent does one thing after the other: what it did first, it knows then.
        let free = handed.into_iter().find(|call| !at_work(&call.target));
        free.map(|call| Step::Delegate(vec![call]))
    }

    /// What the model is asked, with its digest.
    ///
    /// # Errors
    /// As [`Turn::next`].
    pub(crate) fn model_call(&self) -> Result<Arc<ModelCall>> {
        self.asked_model.call(|| self.request())
    }

    /// What the model is asked, which the state alone decides.
    fn request(&self) -> Result<ConverseRequest> {
        if self.phase == (Phase::Routing {}) {
            return Ok(routing::request(self));
        }
        let agent = self.agent();
        let mut config = agent.inference_config.clone();
        let left = self.left();
        config.max_tokens = most_tokens(config.max_tokens, left.tokens);
        let mut request = ConverseRequest {
            messages: self.messages.clone(),
            system: prompt::system(&self.beginning),
            inference_config: config,
            tools: Toolbox::of(agent)?.declarations(),
            ..ConverseRequest::default()
        };
        request.scheduling.deadline_ms = Some(left.ms.max(1));
        Ok(request)
    }

    /// Tells the model the results once every call has ended.
    pub(crate) fn go_on(&mut self) {
        if self.calls.iter().any(|call| call.outcome().is_none()) {
            return;
        }
        match self.phase {
            Phase::Acting {} => {
                self.tell_results();
                self.ask();
            }
            Phase::Routed {} => self.pass_on(),
            _ => {}
        }
    }

    /// Answers with what the collaborator answered; without an answer, plans itself.
    fn pass_on(&mut self) {
        let Some(Outcome::Answered {
            text,
            citations,
            reason,
            ..
        }) = self.calls.first().and_then(Call::outcome).cloned()
        else {
            return self.ask();
        };
        if !text.is_empty() {
            self.messages.push(Message {
                role: Role::Assistant,
                content: vec![ContentBlock::Text(text.clone())],
            });
        }
        self.phase = Phase::Done(Ending {
            reason,
            message: String::new(),
            text,
            citations,
        });
    }

    fn tell_results(&mut self) {
        let results = self.calls.iter().filter_map(|call| {
            let outcome = call.outcome()?;
            let limit = self.agent().limits.max_result_chars;
            Some(ContentBlock::ToolResult(
                outcome.for_model(&call.tool_use_id, limit),
            ))
        });
        let results = results.collect();
        self.say(results);
    }

    /// Goes on with the model, unless a limit is reached.
    fn ask(&mut self) {
        self.phase = Phase::Asking {};
        if let Some((reason, message)) = self.spent.reached(self.agent()) {
            self.finish(reason, message);
        }
    }

    /// Ends the turn before its answer: what is being run is not known, what is open is not run.
    pub(crate) fn end(&mut self, reason: EndReason, message: String) {
        if matches!(self.phase, Phase::Acting {} | Phase::Routed {}) {
            let mut calls = std::mem::take(&mut self.calls);
            for call in &mut calls {
                call.status = Status::Ended(self.ended_with(&call.status, reason, &message));
            }
            self.calls = calls;
            if self.phase == (Phase::Acting {}) {
                self.tell_results();
            }
        }
        self.finish(reason, message);
    }

    /// What a call comes to that the end of the turn ends.
    fn ended_with(&mut self, status: &Status, reason: EndReason, message: &str) -> Outcome {
        match status {
            Status::Ended(outcome) => outcome.clone(),
            Status::Started {} => Outcome::Unknown {},
            Status::Working(turn) => {
                let mut turn = (**turn).clone();
                turn.end(reason, message.to_string());
                // Its tools were told when it began.
                let _ = self.remember(&turn);
                Outcome::Failed {
                    error: format!("the agent ended before its answer: {message}"),
                }
            }
            _ => Outcome::Denied {
                rule: "the turn ended before it".into(),
            },
        }
    }

    fn finish(&mut self, reason: EndReason, message: String) {
        let said = self
            .messages
            .iter()
            .rev()
            .find(|message| message.role == Role::Assistant);
        self.phase = Phase::Done(Ending {
            reason,
            message,
            text: said.map(|said| joined(&said.content)).unwrap_or_default(),
            citations: Vec::new(),
        });
    }

    /// Adds to what the user says: two messages of the user never stand side by side.
    fn say(&mut self, content: Vec<ContentBlock>) {
        match self.messages.last_mut() {
            Some(last) if last.role == Role::User => last.content.extend(content),
            _ => self.messages.push(Message {
                role: Role::User,
                content,
            }),
        }
    }

    /// The blocks of a reply, with an id of its own for each tool use: a model may give one twice.
    fn with_own_ids(&self, content: &[ContentBlock]) -> Vec<ContentBlock> {
        let said = self.messages.iter().flat_map(|message| &message.content);
        let mut taken: Vec<String> = said.filter_map(use_id).collect();
        let mut content = content.to_vec();
        for (at, block) in content.iter_mut().enumerate() {
            if let ContentBlock::ToolUse(tool_use) = block {
                if tool_use.tool_use_id.is_empty() || taken.contains(&tool_use.tool_use_id) {
                    tool_use.tool_use_id =
                        format!("tooluse_{}_{}_{at}", self.number, self.spent.steps);
                }
                taken.push(tool_use.tool_use_id.clone());
            }
        }
        content
    }
}

/// Most tokens of one reply.
const MAX_REPLY: usize = 4096;

/// The most that a model is told for a reply, of `left` for the turn. Where neither the agent nor what is
/// left says less, the model's own bound holds: a context may be shorter than any number given here.
fn most_tokens(stated: Option<usize>, left: usize) -> Option<usize> {
    match stated {
        Some(most) => Some(most.min(left).min(MAX_REPLY)),
        None => (left < MAX_REPLY).then_some(left),
    }
}

fn use_id(block: &ContentBlock) -> Option<String> {
    match block {
        ContentBlock::ToolUse(tool_use) => Some(tool_use.tool_use_id.clone()),
        _ => None,
    }
}

/// A block as a later request may hold it: arguments are an object.
fn sayable(block: &ContentBlock) -> ContentBlock {
    match block {
        ContentBlock::ToolUse(tool_use) if !tool_use.input.is_object() => {
            let written = match &tool_use.input {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            ContentBlock::ToolUse(ToolUse {
                input: json!({"malformed": written}),
                ..tool_use.clone()
            })
        }
        other => other.clone(),
    }
}

fn execution(target: &Target) -> Option<Execution> {
    match target {
        Target::Function { execution, .. } => Some(*execution),
        _ => None,
    }
}

/// Whether the policy is to decide a call: when it is asked for, and when it was approved.
fn waits_for_policy(call: &Call) -> bool {
    matches!(call.status, Status::Undecided {} | Status::Approved {})
}

/// What a call asks of the caller, where it waits for one.
fn asks(call: &Call) -> Option<Asks> {
    let returns = call.target.as_ref().and_then(execution) == Some(Execution::ReturnControl);
    match &call.status {
        Status::Waiting { .. } if returns => Some(Asks::UserConfirmationAndResult),
        Status::Waiting { .. } => Some(Asks::UserConfirmation),
        Status::Ready {} if returns => Some(Asks::Result),
        _ => None,
    }
}

/// The text of blocks.
pub(crate) fn joined(content: &[ContentBlock]) -> String {
    let texts = content.iter().filter_map(|block| match block {
        ContentBlock::Text(text) => Some(text.clone()),
        ContentBlock::CitationsContent(cited) => {
            let parts = cited.content.iter();
            Some(
                parts
                    .map(|outcrop_api::GeneratedText::Text(text)| text.as_str())
                    .collect(),
            )
        }
        _ => None,
    });
    texts.collect::<Vec<_>>().join("\n")
}

fn conflict(message: String) -> Error {
    Error::conflict(message)
}
