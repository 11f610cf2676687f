//! Work that one agent hands to another: the other's turn within its own.
//!
//! A collaborator's turn is a part of its supervisor's state, and its facts are in the same journal:
//! whatever is replayed, forked, stopped or resumed is so with all that was handed on. What it uses
//! counts for every turn above it.

use std::collections::{BTreeMap, BTreeSet};

use outcrop_api::{Citation, ContentBlock, Error, Message, Passage, Result, Role};
use serde::{Deserialize, Serialize};

use crate::asked::Asked;
use crate::call::{Call, Status};
use crate::definition::{AgentDefinition, Collaborator};
use crate::fact::{Beginning, Fact, Outcome};
use crate::step::{EndReason, Ending, Pending};
use crate::toolbox::{Target, Toolbox};
use crate::turn::{Phase, Turn};

/// Most agents that work is handed down through.
const MAX_DEPTH: usize = 4;

/// Work that was handed to an agent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Delegation {
    /// The id of the call that handed it over.
    pub call: String,
    /// The name that its supervisor knows it by.
    pub name: String,
    /// The agent's id.
    pub agent_id: String,
    /// Its version.
    pub agent_version: String,
    /// The alias that led to it, where one did.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub alias_id: String,
}

/// What a turn knows of those above it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Under {
    /// How the work came to it, the outermost delegation first.
    pub chain: Vec<Delegation>,
    /// The agents above it.
    above: Vec<String>,
    /// What they have left for it.
    left: Left,
}

/// What a turn may still use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Left {
    pub tokens: usize,
    pub ms: u64,
}

/// What a collaborator remembers of a session.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Thread {
    turns: usize,
    messages: Vec<Message>,
    threads: BTreeMap<String, Thread>,
}

/// The turns of collaborators that a fact has ended, by the call that handed the work over.
pub(crate) type Ended = Vec<(String, Turn)>;

/// A part of a fact: of a turn's own calls, or of a collaborator's.
pub(crate) enum Part {
    Own(Fact),
    Within(String, Fact),
}

impl Turn {
    /// How the work came to it, the outermost delegation first; none for a session's own turn.
    pub fn chain(&self) -> &[Delegation] {
        self.under.as_ref().map_or(&[], |under| &under.chain)
    }

    /// The turns from this one down to the one that has the call `id`.
    pub fn down_to(&self, id: &str) -> Vec<&Turn> {
        let mut turns = vec![self];
        let mut at = self;
        while let Some(turn) = at.calls.iter().find_map(|call| {
            let within = id.strip_prefix(&call.id)?.starts_with('/');
            within.then(|| call.working()).flatten()
        }) {
            turns.push(turn);
            at = turn;
        }
        turns
    }

    /// The turn that the calls `within` lead to.
    pub fn within(&self, within: &[String]) -> Option<&Turn> {
        within.iter().try_fold(self, |turn, id| {
            let call = turn.calls.iter().find(|call| call.id == *id);
            call.and_then(Call::working)
        })
    }

    /// The call `id`, of this turn or of one that it handed work to.
    pub fn call(&self, id: &str) -> Option<&Call> {
        let turns = self.down_to(id);
        turns.last()?.calls.iter().find(|call| call.id == id)
    }

    /// The calls that are being run, with those of the turns that it handed work to.
    pub fn started(&self) -> Vec<String> {
        let each = self.calls.iter().flat_map(|call| match &call.status {
            Status::Started {} => vec![call.id.clone()],
            Status::Working(turn) => turn.started(),
            _ => Vec::new(),
        });
        each.collect()
    }

    /// The turns that it handed work to and that are under way, with theirs.
    pub fn team(&self) -> Vec<&Turn> {
        let working = self.calls.iter().filter_map(Call::working);
        working
            .flat_map(|turn| std::iter::once(turn).chain(turn.team()))
            .collect()
    }

    /// Milliseconds that it has left, of its own and of those above it.
    pub fn ms_left(&self) -> u64 {
        self.left().ms
    }

    /// The collaborator that a call hands work to.
    pub fn collaborator(&self, call: &Call) -> Option<&Collaborator> {
        let Some(Target::Collaborator { name }) = &call.target else {
            return None;
        };
        let mut collaborators = self.agent().collaborators.iter();
        collaborators.find(|collaborator| collaborator.name == *name)
    }

    /// The fact that the work of `call` is handed to an agent.
    pub fn handed_over(&self, call: &Call, definition: AgentDefinition) -> Fact {
        let message = call.arguments["message"].as_str().unwrap_or_default();
        let beginning = Beginning {
            definition,
            input: message.to_string(),
            session_attributes: self.beginning.session_attributes.clone(),
            prompt_session_attributes: self.beginning.prompt_session_attributes.clone(),
            runs: self.beginning.runs.clone(),
            memory: None,
        };
        Fact::Within {
            call: call.id.clone(),
            fact: Box::new(Fact::Begun(Box::new(beginning))),
        }
    }

    /// The kinds of text that it has read and nobody in charge wrote.
    ///
    /// # Errors
    /// As [`Turn::next`].
    pub(crate) fn heard(&self) -> Result<BTreeSet<String>> {
        let toolbox = Toolbox::of(self.agent())?;
        let mut kinds = self.carried.clone();
        let mut names: BTreeMap<&str, &str> = BTreeMap::new();
        for block in self.messages.iter().flat_map(|message| &message.content) {
            match block {
                ContentBlock::ToolUse(tool_use) => {
                    names.insert(&tool_use.tool_use_id, &tool_use.name);
                }
                ContentBlock::ToolResult(result) => {
                    let name = names.get(result.tool_use_id.as_str());
                    if let Some((_, target)) = name.and_then(|name| toolbox.find(name)) {
                        kinds.insert(kind(target).into());
                    }
                }
                _ => {}
            }
        }
        if self.under.is_some() {
            kinds.insert("agent".into());
        }
        let memory = self.beginning.memory.as_ref();
        if memory.is_some_and(|memory| !memory.sessions.is_empty()) {
            kinds.insert("memory".into());
        }
        Ok(kinds)
    }

    pub(crate) fn left(&self) -> Left {
        let limits = &self.agent().limits;
        let tokens = limits
            .max_tokens
            .saturating_sub(self.spent.usage.total_tokens);
        let ms = ((limits.max_seconds * 1000.0) as u64).saturating_sub(self.spent.took_ms);
        let above = self.under.as_ref().map(|under| under.left);
        Left {
            tokens: above.map_or(tokens, |above| above.tokens.min(tokens)),
            ms: above.map_or(ms, |above| above.ms.min(ms)),
        }
    }

    /// Why work must not be handed on, where it must not.
    pub(crate) fn goes_round(&self, target: &Target) -> Option<Outcome> {
        let Target::Collaborator { name } = target else {
            return None;
        };
        let mut collaborators = self.agent().collaborators.iter();
        let id = &collaborators.find(|one| one.name == *name)?.agent_id;
        let above = self.under.as_ref().map_or(&[][..], |under| &under.above);
        if above.contains(id) || *id == self.agent().id {
            return Some(Outcome::Denied {
                rule: format!("the agent {name} is at work on this already, above this call"),
            });
        }
        (self.chain().len() >= MAX_DEPTH).then(|| Outcome::Denied {
            rule: format!("work is handed down at most {MAX_DEPTH} times"),
        })
    }

    /// The parts of a fact, by whose calls it is of.
    pub(crate) fn parts(&self, fact: &Fact) -> Vec<Part> {
        let own = |fact: &Fact| vec![Part::Own(fact.clone())];
        match fact {
            Fact::Within { call, fact } => vec![Part::Within(call.clone(), (**fact).clone())],
            Fact::Ended(end) => match self.over(&end.call) {
                Some(call) => vec![Part::Within(call, fact.clone())],
                None => own(fact),
            },
            Fact::Edited {
                edit: crate::fact::Edit::Result { call, .. },
            } => match self.over(call) {
                Some(call) => vec![Part::Within(call, fact.clone())],
                None => own(fact),
            },
            Fact::Lost { calls } => self.shared_out(calls, |id| id, |calls| Fact::Lost { calls }),
            Fact::Answered { answers } => self.shared_out(
                answers,
                |answer| &answer.call,
                |answers| Fact::Answered { answers },
            ),
            _ => own(fact),
        }
    }

    fn shared_out<T: Clone>(
        &self,
        items: &[T],
        id: impl Fn(&T) -> &String,
        fact: impl Fn(Vec<T>) -> Fact,
    ) -> Vec<Part> {
        let mut own = Vec::new();
        let mut others: Vec<(String, Vec<T>)> = Vec::new();
        for item in items {
            match self.over(id(item)) {
                None => own.push(item.clone()),
                Some(call) => match others.iter_mut().find(|(there, _)| *there == call) {
                    Some((_, items)) => items.push(item.clone()),
                    None => others.push((call, vec![item.clone()])),
                },
            }
        }
        let mut parts = Vec::new();
        if !own.is_empty() || others.is_empty() {
            parts.push(Part::Own(fact(own)));
        }
        parts.extend(
            others
                .into_iter()
                .map(|(call, items)| Part::Within(call, fact(items))),
        );
        parts
    }

    /// The call of this turn that handed on the work which the call `id` is of.
    fn over(&self, id: &str) -> Option<String> {
        let depth = self.chain().len() + 1;
        let mut ends = id.match_indices('/').map(|(at, _)| at);
        ends.nth(depth - 1).map(|end| id[..end].to_string())
    }

    /// Applies what happened in the turn of the agent that the call `id` handed work to.
    pub(crate) fn apply_within(&mut self, id: &str, fact: &Fact, ended: &mut Ended) -> Result<()> {
        if let Fact::Begun(beginning) = fact {
            return self.begin_within(id, beginning);
        }
        let call = self.calls.iter_mut().find(|call| call.id == *id);
        let Some(Status::Working(turn)) = call.map(|call| &mut call.status) else {
            return Err(Error::conflict(format!(
                "call {id}: no agent works on it in this session"
            )));
        };
        let before = turn.spent;
        turn.apply(fact, ended)?;
        let after = turn.spent;
        self.spent.add(&before, &after);
        Ok(())
    }

    fn begin_within(&mut self, id: &str, beginning: &Beginning) -> Result<()> {
        let call = self.calls.iter().find(|call| call.id == *id);
        let ready = call.filter(|call| call.status == Status::Ready {});
        let found = ready.and_then(|call| Some((call, self.collaborator(call)?)));
        let Some((call, collaborator)) = found else {
            return Err(Error::conflict(format!(
                "call {id}: expected work that is ready to be handed over"
            )));
        };
        if beginning.definition.id != collaborator.agent_id {
            return Err(Error::conflict(format!(
                "call {id}: expected the agent {}, got {}",
                collaborator.agent_id, beginning.definition.id
            )));
        }
        let mut chain = self.chain().to_vec();
        chain.push(Delegation {
            call: call.id.clone(),
            name: collaborator.name.clone(),
            agent_id: collaborator.agent_id.clone(),
            agent_version: collaborator.agent_version.clone(),
            alias_id: collaborator.alias_id.clone(),
        });
        let mut above = self.under.as_ref().map_or(Vec::new(), |u| u.above.clone());
        above.push(self.agent().id.clone());
        let thread = self.threads.get(&collaborator.name).cloned();
        let thread = thread.unwrap_or_default();
        let said = match collaborator.relays_history {
            true => self.relayed(),
            false => thread.messages,
        };
        let mut turn = Self::new(thread.turns + 1, beginning.clone(), said);
        turn.threads = thread.threads;
        turn.under = Some(Under {
            chain,
            above,
            left: self.left(),
        });
        if let Some(call) = self.calls.iter_mut().find(|call| call.id == *id) {
            call.status = Status::Working(Box::new(turn));
        }
        Ok(())
    }

    /// What the user and the agent have said, without calls and results, and without the user's
    /// latest words where these are what is handed over.
    fn relayed(&self) -> Vec<Message> {
        let most = match self.phase {
            Phase::Routed {} => self.messages.len().saturating_sub(1),
            _ => self.messages.len(),
        };
        said(&self.messages[..most])
    }

    /// What follows for the work that was handed on: it ends with what it was handed within, and
    /// knows what is left for it.
    pub(crate) fn settle(&mut self, ended: &mut Ended) -> Result<()> {
        let working = |call: &Call| call.working().is_some();
        if !self.calls.iter().any(working) {
            return Ok(());
        }
        let reached = self.spent.reached(self.agent());
        for at in 0..self.calls.len() {
            let id = self.calls[at].id.clone();
            let Status::Working(turn) = &mut self.calls[at].status else {
                continue;
            };
            if let Some((reason, message)) = &reached
                && turn.wants_model()
            {
                turn.end(*reason, message.clone());
            }
            if let Some(ending) = turn.ending().cloned() {
                let turn = (**turn).clone();
                let outcome = self.retire(&id, &turn, ending)?;
                self.calls[at].status = Status::Ended(outcome);
                ended.push((id, turn));
            }
        }
        let left = self.left();
        for call in &mut self.calls {
            if let Status::Working(turn) = &mut call.status {
                turn.share(left);
            }
        }
        self.go_on();
        Ok(())
    }

    /// Keeps what the session needs of a collaborator's turn that has ended; gives what it came to.
    fn retire(&mut self, id: &str, turn: &Turn, ending: Ending) -> Result<Outcome> {
        self.remember(turn)?;
        let name = turn.chain().last().map_or(id, |last| &last.name);
        if !ending.message.is_empty() {
            return Ok(Outcome::Failed {
                error: format!(
                    "the agent {name} ended before its answer: {}",
                    ending.message
                ),
            });
        }
        let first = self.passages.len() + 1;
        self.passages.extend(cited_passages(&ending.citations));
        Ok(Outcome::Answered {
            agent: name.to_string(),
            text: ending.text,
            citations: ending.citations,
            first,
            reason: ending.reason,
        })
    }

    /// Keeps what a collaborator has said and read.
    pub(crate) fn remember(&mut self, turn: &Turn) -> Result<()> {
        let Some(last) = turn.chain().last() else {
            return Ok(());
        };
        self.carried.extend(turn.heard()?);
        let thread = Thread {
            turns: turn.number,
            messages: turn.messages.clone(),
            threads: turn.threads.clone(),
        };
        self.threads.insert(last.name.clone(), thread);
        Ok(())
    }

    fn wants_model(&self) -> bool {
        let asks = matches!(self.phase, Phase::Asking {} | Phase::Routing {});
        let working = &mut self.calls.iter().filter_map(Call::working);
        asks || working.any(|turn| turn.wants_model())
    }

    fn share(&mut self, left: Left) {
        if let Some(under) = &mut self.under {
            under.left = left;
        }
        self.asked_model = Asked::default();
        let left = self.left();
        for call in &mut self.calls {
            if let Status::Working(turn) = &mut call.status {
                turn.share(left);
            }
        }
    }

    /// What those that it handed work to are paused for, and what they are waiting for.
    pub(crate) fn pending(&self, call: Call, asks: crate::step::Asks) -> Pending {
        Pending {
            call,
            asks,
            within: self.chain().to_vec(),
        }
    }
}

/// What was said, without calls and results.
pub(crate) fn said(messages: &[Message]) -> Vec<Message> {
    let mut said: Vec<Message> = Vec::new();
    for message in messages {
        let words = message.content.iter().filter(|block| {
            matches!(
                block,
                ContentBlock::Text(_) | ContentBlock::CitationsContent(_)
            )
        });
        let content: Vec<ContentBlock> = words.cloned().collect();
        match said.last_mut() {
            _ if content.is_empty() => {}
            Some(last) if last.role == message.role => last.content.extend(content),
            _ => said.push(Message {
                role: message.role,
                content,
            }),
        }
    }
    // What comes before the user's first words is nothing that was said to them.
    while said
        .first()
        .is_some_and(|first| first.role == Role::Assistant)
    {
        said.remove(0);
    }
    said
}

/// The kind of the text that a call gives.
pub(crate) fn kind(target: &Target) -> &'static str {
    match target {
        Target::Function { .. } => "function",
        Target::KnowledgeBase { .. } => "document",
        Target::Collaborator { .. } => "agent",
    }
}

/// The passages that citations rest on, each once, in their order.
pub fn cited_passages(citations: &[Citation]) -> Vec<Passage> {
    let mut found: Vec<Passage> = Vec::new();
    for passage in citations.iter().flat_map(|citation| &citation.passages) {
        if !found.iter().any(|there| there.id == passage.id) {
            found.push(passage.clone());
        }
    }
    found
}

/// Whether an answer came to its end.
pub(crate) fn is_cut_off(reason: EndReason) -> bool {
    reason == EndReason::MaxTokens
}
