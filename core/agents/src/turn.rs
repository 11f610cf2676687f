//! One turn of a conversation as a state machine: what it needs next, and what becomes of each fact.

use std::collections::BTreeMap;

use outcrop_api::{
    ContentBlock, ConverseRequest, Error, Message, Passage, Result, Role, StopReason, ToolUse,
};
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

    /// Applies a fact to the turn.
    ///
    /// # Errors
    /// `ConflictException` where it is none that the turn waits for: the turn stays as it was.
    pub(crate) fn apply(&mut self, fact: &Fact) -> Result<()> {
        if self.ending().is_some() && !matches!(fact, Fact::Edited { .. }) {
            return Err(conflict("the turn has ended".into()));
        }
        match fact {
            Fact::Begun(_) => Err(conflict("the turn before has not ended".into())),
            Fact::Replied(replied) => self.replied(replied),
            Fact::Decided { verdicts } => self.decided(verdicts),
            Fact::Started { calls } => self.each(
                calls,
                &|call| call.status == Status::Ready {},
                "be ready",
                |_| Status::Started {},
            ),
            Fact::Ended(end) => self.ended(end),
            Fact::Answered { answers } => self.answered(answers),
            Fact::Lost { calls } => {
                let started = |call: &Call| call.status == Status::Started {};
                self.each(calls, &started, "have been started", |_| {
                    Status::Ended(Outcome::Unknown {})
                })?;
                self.go_on();
                Ok(())
            }
            Fact::Cited { text, citations } => self.cited(text, citations.clone()),
            Fact::Stopped { reason } => {
                self.end(EndReason::Stopped, reason.clone());
                Ok(())
            }
            Fact::Edited { edit } => self.edited(edit),
        }
    }

    fn replied(&mut self, replied: &Replied) -> Result<()> {
        if self.phase != (Phase::Asking {}) {
            return Err(conflict("the model was not asked".into()));
        }
        if digest::of_json(&self.request()?) != replied.request {
            return Err(conflict(
                "the recorded reply is not one to what the turn asks the model".into(),
            ));
        }
        self.spent.steps += 1;
        self.spent.took_ms += replied.took_ms;
        let (content, stop_reason, usage) = match &replied.reply {
            ModelReply::Failed { name, message } => {
                self.end(EndReason::ModelFailed, format!("{name}: {message}"));
                return Ok(());
            }
            ModelReply::Answered {
                content,
                stop_reason,
                usage,
            } => (content, *stop_reason, usage),
        };
        let spent = &mut self.spent;
        spent.usage.input_tokens += usage.input_tokens;
        spent.usage.output_tokens += usage.output_tokens;
        spent.usage.total_tokens += usage.total_tokens;
        spent.usage.cache_read_input_tokens += usage.cache_read_input_tokens;
        spent.usage.cache_write_input_tokens += usage.cache_write_input_tokens;
        spent.cost += self.beginning.definition.price.of(usage);
        let content = self.with_own_ids(content);
        let uses = content.iter().filter_map(|block| match block {
            ContentBlock::ToolUse(tool_use) => Some(tool_use.clone()),
            _ => None,
        });
        let uses: Vec<ToolUse> = uses.collect();
        if !content.is_empty() {
            let content = content.iter().map(sayable).collect();
            self.messages.push(Message {
                role: Role::Assistant,
                content,
            });
        }
        if !uses.is_empty() {
            return self.called(uses);
        }
        match stop_reason {
            StopReason::MalformedToolUse | StopReason::MalformedModelOutput => {
                self.say(vec![ContentBlock::Text(prompt::MALFORMED.into())]);
                self.ask();
            }
            _ => {
                let reason = match stop_reason {
                    StopReason::MaxTokens | StopReason::ModelContextWindowExceeded => {
                        EndReason::MaxTokens
                    }
                    _ => EndReason::EndTurn,
                };
                self.phase = match self.passages.is_empty() {
                    false => Phase::Citing { content, reason },
                    true => Phase::Done(Ending {
                        reason,
                        message: String::new(),
                        text: joined(&content),
                        citations: Vec::new(),
                    }),
                };
            }
        }
        Ok(())
    }

    /// The calls of a reply: read, checked, and those that can be run put to the policy.
    fn called(&mut self, uses: Vec<ToolUse>) -> Result<()> {
        let toolbox = Toolbox::of(self.agent())?;
        let limits = self.agent().limits.clone();
        let mut is_stuck = None;
        let mut calls = Vec::with_capacity(uses.len());
        for (at, tool_use) in uses.into_iter().enumerate() {
            let key = digest::of_json(&(&tool_use.name, &tool_use.input));
            let times = self.asked.entry(key).or_default();
            *times += 1;
            if *times > limits.max_repeats + REPEATS_PAST_REFUSAL {
                is_stuck = Some(format!(
                    "{} was asked for {times} times with the same arguments",
                    tool_use.name
                ));
            }
            let found = toolbox.find(&tool_use.name);
            let fault = match found {
                None => Some(format!(
                    "there is no tool {:?}; expected one of {}",
                    tool_use.name,
                    toolbox.names()
                )),
                Some(_) if at >= limits.max_calls => Some(format!(
                    "it is call {} of one reply, which may hold {}",
                    at + 1,
                    limits.max_calls
                )),
                Some((tool, _)) => schema::fault(&tool.input_schema, &tool_use.input),
            };
            let status = match fault {
                Some(fault) => Status::Ended(Outcome::Malformed { fault }),
                None if *times > limits.max_repeats => Status::Ended(Outcome::Repeated {
                    times: limits.max_repeats,
                }),
                None => Status::Undecided {},
            };
            calls.push(Call {
                id: format!("{}.{}.{}", self.number, self.spent.steps, at + 1),
                tool_use_id: tool_use.tool_use_id,
                tool: tool_use.name,
                target: found.map(|(_, target)| target.clone()),
                arguments: tool_use.input,
                status,
            });
        }
        self.calls = calls;
        self.phase = Phase::Acting {};
        match is_stuck {
            Some(message) => self.end(EndReason::RepeatedCall, message),
            None => self.go_on(),
        }
        Ok(())
    }

    fn decided(&mut self, verdicts: &[Verdict]) -> Result<()> {
        let undecided = |call: &Call| call.status == Status::Undecided {};
        let ids: Vec<String> = verdicts
            .iter()
            .map(|verdict| verdict.call.clone())
            .collect();
        let asked = self
            .calls
            .iter()
            .filter(|call| undecided(call))
            .map(|call| &call.id);
        if !asked.eq(ids.iter()) {
            return Err(conflict(format!(
                "the verdicts are of other calls than are undecided: {ids:?}"
            )));
        }
        let confirms: Vec<bool> = verdicts
            .iter()
            .map(|verdict| self.confirms(&verdict.call))
            .collect();
        let mut each = verdicts.iter().zip(confirms);
        self.each(&ids, &undecided, "be undecided", |_| match each.next() {
            Some((verdict, confirms)) => match verdict.effect {
                Effect::Deny => Status::Ended(Outcome::Denied {
                    rule: verdict.rule.clone(),
                }),
                Effect::Approve => Status::Waiting {
                    rule: verdict.rule.clone(),
                },
                Effect::Allow if confirms => Status::Waiting {
                    rule: "the action group requires confirmation of it".into(),
                },
                Effect::Allow => Status::Ready {},
            },
            None => Status::Undecided {},
        })?;
        self.go_on();
        Ok(())
    }

    /// Whether the function of a call requires confirmation.
    fn confirms(&self, id: &str) -> bool {
        let call = self.calls.iter().find(|call| call.id == id);
        let Some(Target::Function {
            action_group,
            function,
            ..
        }) = call.and_then(|call| call.target.as_ref())
        else {
            return false;
        };
        let groups = self
            .agent()
            .action_groups
            .iter()
            .filter(|group| group.name == *action_group);
        let mut functions = groups.flat_map(|group| &group.functions);
        functions.any(|f| f.name == *function && f.require_confirmation)
    }

    fn ended(&mut self, end: &CallEnd) -> Result<()> {
        let started = |call: &Call| call.status == Status::Started {};
        let outcome = end.outcome.clone();
        self.each(
            std::slice::from_ref(&end.call),
            &started,
            "have been started",
            |_| Status::Ended(outcome.clone()),
        )?;
        if let Outcome::Found { passages, .. } = &end.outcome {
            self.passages.extend(passages.iter().cloned());
        }
        self.spent.took_ms += end.took_ms;
        self.go_on();
        Ok(())
    }

    fn answered(&mut self, answers: &[Answer]) -> Result<()> {
        let open = |call: &Call| asks(call).is_some();
        for answer in answers {
            let call = self.calls.iter().find(|call| call.id == answer.call);
            let wanted = call
                .and_then(asks)
                .ok_or_else(|| conflict(format!("call {} waits for no answer", answer.call)))?;
            if wanted == Asks::Result && answer.answer == (CallAnswer::Approved {})
                || wanted == Asks::UserConfirmation
                    && matches!(answer.answer, CallAnswer::Result(_))
            {
                return Err(conflict(format!(
                    "call {} waits for {}",
                    answer.call,
                    if wanted == Asks::Result {
                        "a result"
                    } else {
                        "an approval or a refusal"
                    }
                )));
            }
        }
        let ids: Vec<String> = answers.iter().map(|answer| answer.call.clone()).collect();
        let mut each = answers.iter();
        self.each(&ids, &open, "wait for an answer", |_| {
            match each.next().map(|answer| &answer.answer) {
                Some(CallAnswer::Rejected { reason }) => Status::Ended(Outcome::Rejected {
                    reason: reason.clone(),
                }),
                Some(CallAnswer::Result(outcome)) => Status::Ended(outcome.clone()),
                Some(CallAnswer::Approved {}) | None => Status::Ready {},
            }
        })?;
        self.go_on();
        Ok(())
    }

    fn cited(&mut self, text: &str, citations: Vec<outcrop_api::Citation>) -> Result<()> {
        let Phase::Citing { reason, .. } = self.phase else {
            return Err(conflict("there is no answer to be cited".into()));
        };
        self.phase = Phase::Done(Ending {
            reason,
            message: String::new(),
            text: text.to_string(),
            citations,
        });
        Ok(())
    }

    fn edited(&mut self, edit: &Edit) -> Result<()> {
        match edit {
            Edit::Instruction(instruction) => {
                self.beginning
                    .definition
                    .instruction
                    .clone_from(instruction);
                Ok(())
            }
            Edit::Result { call, outcome } => {
                let ended = |call: &Call| call.outcome().is_some_and(Outcome::ran);
                let outcome = outcome.clone();
                self.each(std::slice::from_ref(call), &ended, "have been run", |_| {
                    Status::Ended(outcome.clone())
                })?;
                // The model has read the results already: it reads the edited one in their place.
                if self.phase == (Phase::Asking {}) {
                    self.messages.pop();
                    self.phase = Phase::Acting {};
                }
                self.go_on();
                Ok(())
            }
        }
    }

    /// Gives each of the calls `ids` the status that `next` says, where `holds` of all of them.
    fn each(
        &mut self,
        ids: &[String],
        holds: &dyn Fn(&Call) -> bool,
        expected: &str,
        mut next: impl FnMut(&Call) -> Status,
    ) -> Result<()> {
        for (at, id) in ids.iter().enumerate() {
            let call = self.calls.iter().find(|call| call.id == *id);
            if !call.is_some_and(holds) || ids[..at].contains(id) {
                return Err(conflict(format!(
                    "call {id}: expected it to {expected}, once"
                )));
            }
        }
        for id in ids {
            if let Some(call) = self.calls.iter_mut().find(|call| call.id == *id) {
                call.status = next(call);
            }
        }
        Ok(())
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
