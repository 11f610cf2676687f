//! One turn of a conversation as a state machine: its state, and what it needs next.

mod apply;

use std::collections::BTreeMap;

use outcrop_api::{ContentBlock, ConverseRequest, Error, Message, Passage, Result, Role, ToolUse};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::call::{Call, Status};
use crate::definition::{AgentDefinition, Execution};
use crate::digest;
use crate::fact::{
    Answer, Beginning, CallAnswer, CallEnd, Edit, Effect, Fact, ModelReply, Outcome, Replied,
    Verdict,
};
use crate::prompt;
use crate::schema;
use crate::step::{Asks, EndReason, Ending, Pending, Spent, Step};
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
    phase: Phase,
}

/// What a turn is at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Phase {
    Asking {},
    Acting {},
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
            phase: Phase::Asking {},
            beginning,
        };
        let input = turn.beginning.input.clone();
        turn.say(vec![ContentBlock::Text(input)]);
        turn
    }

    /// The agent as it is for this turn.
    pub fn agent(&self) -> &AgentDefinition {
        &self.beginning.definition
    }

    /// How it ended, where it has.
    pub fn ending(&self) -> Option<&Ending> {
        match &self.phase {
            Phase::Done(ending) => Some(ending),
            _ => None,
        }
    }

    /// What it needs next.
    ///
    /// # Errors
    /// `InternalServerException` where the agent's tools cannot be told, which its check excludes.
    pub fn next(&self) -> Result<Step> {
        Ok(match &self.phase {
            Phase::Done(ending) => Step::Done(ending.clone()),
            Phase::Citing { content, .. } => Step::Cite {
                content: content.clone(),
                passages: self.passages.clone(),
            },
            Phase::Asking {} => Step::AskModel(Box::new(self.request()?)),
            Phase::Acting {} => self.next_calls(),
        })
    }

    fn next_calls(&self) -> Step {
        let those = |holds: &dyn Fn(&Call) -> bool| -> Vec<Call> {
            self.calls
                .iter()
                .filter(|call| holds(call))
                .cloned()
                .collect()
        };
        let undecided = those(&|call| call.status == Status::Undecided {});
        if !undecided.is_empty() {
            return Step::Authorize(undecided);
        }
        let ready_and = |is_kind: &dyn Fn(&Target) -> bool| {
            those(&|call| {
                call.status == Status::Ready {} && call.target.as_ref().is_some_and(is_kind)
            })
        };
        let functions = ready_and(&|target| execution(target) == Some(Execution::Caller));
        if !functions.is_empty() {
            return Step::CallTools(functions);
        }
        let look_ups = ready_and(&|target| matches!(target, Target::KnowledgeBase { .. }));
        if !look_ups.is_empty() {
            return Step::LookUp(look_ups);
        }
        let handed = ready_and(&|target| matches!(target, Target::Collaborator { .. }));
        if !handed.is_empty() {
            return Step::Delegate(handed);
        }
        let started = those(&|call| call.status == Status::Started {});
        if !started.is_empty() {
            return Step::Await(started.into_iter().map(|call| call.id).collect());
        }
        let open = self.calls.iter().filter(|call| call.outcome().is_none());
        Step::AskApproval(open.cloned().map(pending).collect())
    }

    /// What the model is asked, which the state alone decides.
    ///
    /// # Errors
    /// As [`Turn::next`].
    pub(crate) fn request(&self) -> Result<ConverseRequest> {
        let agent = self.agent();
        let mut config = agent.inference_config.clone();
        let left = agent
            .limits
            .max_tokens
            .saturating_sub(self.spent.usage.total_tokens);
        config.max_tokens = Some(config.max_tokens.unwrap_or(left).min(left).min(MAX_REPLY));
        let ms_left = (agent.limits.max_seconds * 1000.0) as u64;
        let mut request = ConverseRequest {
            messages: self.messages.clone(),
            system: prompt::system(&self.beginning),
            inference_config: config,
            tools: Toolbox::of(agent)?.declarations(),
            ..ConverseRequest::default()
        };
        request.scheduling.deadline_ms = Some(ms_left.saturating_sub(self.spent.took_ms).max(1));
        Ok(request)
    }

    /// Tells the model the results once every call has ended.
    fn go_on(&mut self) {
        if self.phase != (Phase::Acting {})
            || self.calls.iter().any(|call| call.outcome().is_none())
        {
            return;
        }
        self.tell_results();
        self.ask();
    }

    fn tell_results(&mut self) {
        let results = self.calls.iter().filter_map(|call| {
            let outcome = call.outcome()?;
            Some(ContentBlock::ToolResult(
                outcome.for_model(&call.tool_use_id),
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
    fn end(&mut self, reason: EndReason, message: String) {
        if self.phase == (Phase::Acting {}) {
            for call in &mut self.calls {
                call.status = match &call.status {
                    Status::Ended(outcome) => Status::Ended(outcome.clone()),
                    Status::Started {} => Status::Ended(Outcome::Unknown {}),
                    _ => Status::Ended(Outcome::Denied {
                        rule: "the turn ended before it".into(),
                    }),
                };
            }
            self.tell_results();
        }
        self.finish(reason, message);
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

/// Most tokens of one reply, where neither the agent nor the caller says.
const MAX_REPLY: usize = 4096;

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

fn pending(call: Call) -> Pending {
    Pending {
        asks: asks(&call).unwrap_or(Asks::Result),
        call,
    }
}

/// The text of blocks.
fn joined(content: &[ContentBlock]) -> String {
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
