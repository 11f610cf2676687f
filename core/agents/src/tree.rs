//! A trace as a tree: model calls, the calls that each asked for, and what became of them.

mod html;
mod text;

use std::collections::HashMap;

use serde_json::Value;

use crate::delegation::Delegation;
use crate::fact::{CallAnswer, Effect, Outcome};
use crate::step::Spent;
use crate::toolbox::Target;
use crate::trace::{CallSummary, Event, TraceEvent};

/// The trace as lines for a terminal.
pub fn text(events: &[TraceEvent]) -> String {
    text::render(&turns(events))
}

/// The trace as HTML that stands alone: no script, nothing from elsewhere, all text escaped.
pub fn html(events: &[TraceEvent]) -> String {
    html::render(&turns(events))
}

/// A part of the tree.
#[derive(Clone, Debug, Default)]
struct Node {
    /// What it is, in one word.
    label: &'static str,
    mood: Mood,
    /// What it says, on one line.
    words: String,
    /// Durations, tokens, dollars.
    facts: Vec<String>,
    took_ms: u64,
    /// All that the event tells, and which fact it is.
    whole: Option<Whole>,
    children: Vec<Node>,
}

#[derive(Clone, Debug)]
struct Whole {
    step: usize,
    time: String,
    digest: String,
    detail: String,
}

/// How a part is to be looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Mood {
    #[default]
    Plain,
    Model,
    Good,
    Waits,
    Bad,
}

/// One tree for each turn.
fn turns(events: &[TraceEvent]) -> Vec<Node> {
    let mut turns: Vec<(usize, Turn)> = Vec::new();
    for event in events {
        if turns.last().is_none_or(|(number, _)| *number != event.turn) {
            turns.push((event.turn, Turn::default()));
        }
        if let Some((_, turn)) = turns.last_mut() {
            turn.tell(event);
        }
    }
    let roots = turns.into_iter();
    roots
        .map(|(number, turn)| turn.root("turn", number.to_string()))
        .collect()
}

/// A turn whose tree is being made.
#[derive(Default)]
struct Turn {
    nodes: Vec<Node>,
    /// Where each call stands: the model call's place in `nodes`, and its own in that.
    calls: HashMap<String, (usize, usize)>,
    /// The turns of the agents that it handed work to, by the call; with the agent's name.
    handed: Vec<(String, String, Turn)>,
    /// What the turn has used.
    spent: Spent,
    ended: String,
    failed: bool,
}

impl Turn {
    /// The turn of the agent that work was handed down to.
    fn at(&mut self, within: &[Delegation]) -> &mut Self {
        let Some((first, rest)) = within.split_first() else {
            return self;
        };
        let mut known = self.handed.iter();
        let at = known.position(|(call, ..)| *call == first.call);
        let at = at.unwrap_or_else(|| {
            let (call, name) = (first.call.clone(), first.name.clone());
            self.handed.push((call, name, Self::default()));
            self.handed.len() - 1
        });
        self.handed[at].2.at(rest)
    }

    fn tell(&mut self, event: &TraceEvent) {
        let Event::ApprovalRequest { pending } = &event.event else {
            return self.at(&event.within).add(event);
        };
        for one in pending {
            let mut node = Node::of(event);
            node.mood = Mood::Waits;
            node.words = format!("for {}", word(&one.asks));
            let call = CallSummary {
                id: one.call.id.clone(),
                tool: one.call.tool.clone(),
                target: one.call.target.clone(),
                arguments: one.call.arguments.clone(),
            };
            self.at(&one.within).under_call(&call, node);
        }
    }

    fn add(&mut self, event: &TraceEvent) {
        let mut node = Node::of(event);
        match &event.event {
            Event::ModelInvocationInput { model, .. } => {
                node.label = "model";
                node.mood = Mood::Model;
                node.words = model.clone();
                self.nodes.push(node);
            }
            Event::ModelInvocationOutput {
                stop_reason,
                usage,
                cost,
                took_ms,
                ..
            } => {
                self.spent.steps += 1;
                self.spent.usage.total_tokens += usage.total_tokens;
                self.spent.cost += cost;
                self.spent.took_ms += took_ms;
                let Some(asked) = self.nodes.last_mut().filter(|node| node.label == "model") else {
                    return self.nodes.push(node);
                };
                let reason = word(stop_reason);
                asked.facts.push(reason);
                asked.facts.push(format!(
                    "{} → {} tokens",
                    usage.input_tokens, usage.output_tokens
                ));
                asked.facts.push(duration(*took_ms));
                asked.facts.extend(dollars(*cost));
                asked.took_ms = *took_ms;
                node.label = "reply";
                asked.children.push(node);
            }
            Event::Rationale { text } => {
                node.words = one_line(text);
                self.under_model(node);
            }
            Event::Decision {
                call,
                effect,
                rule,
                policies,
            } => {
                (node.label, node.mood) = match effect {
                    Effect::Allow => ("allow", Mood::Good),
                    Effect::Approve => ("approve", Mood::Waits),
                    Effect::Deny => ("deny", Mood::Bad),
                };
                node.words = one_line(rule);
                if !policies.is_empty() {
                    node.facts.push(format!("by {}", policies.join(", ")));
                }
                self.under_call(call, node);
            }
            Event::ApprovalResponse { answer } => {
                (node.mood, node.words) = match &answer.answer {
                    CallAnswer::Approved {} => (Mood::Good, "approved".into()),
                    CallAnswer::Rejected { reason } => (Mood::Bad, format!("rejected: {reason}")),
                    CallAnswer::Result(_) => (Mood::Good, "with a result".into()),
                };
                if let Some(by) = &answer.by {
                    node.facts.push(format!("by {by}"));
                }
                match self.call(&answer.call) {
                    Some(call) => call.children.push(node),
                    None => self.nodes.push(node),
                }
            }
            Event::InvocationInput { call } => {
                node.words = "begun".into();
                self.under_call(call, node);
            }
            Event::Observation {
                call,
                outcome,
                took_ms,
            } => {
                self.spent.took_ms += took_ms;
                (node.mood, node.words) = told(outcome);
                self.under_call(call, node);
                if let Some(call) = self.call(&call.id) {
                    call.took_ms = *took_ms;
                    if outcome.ran() {
                        call.facts.push(duration(*took_ms));
                    }
                    if !outcome.succeeded() {
                        call.mood = Mood::Bad;
                    }
                }
            }
            Event::FinalResponse {
                reason,
                citations,
                text,
                spent,
            } => {
                (self.ended, self.spent) = (word(reason), *spent);
                node.mood = Mood::Good;
                node.words = one_line(text);
                if !citations.is_empty() {
                    node.facts.push(counted(citations.len(), "citation"));
                }
                self.nodes.push(node);
            }
            Event::Failure {
                reason,
                message,
                spent,
            } => {
                (self.ended, self.spent) = (word(reason), *spent);
                self.failed = true;
                node.mood = Mood::Bad;
                node.words = one_line(message);
                self.nodes.push(node);
            }
            Event::Input { text } => {
                node.words = one_line(text);
                self.nodes.push(node);
            }
            Event::MemoryRead { memory } => {
                node.words = counted(memory.sessions.len(), "earlier session");
                if !memory.missing.is_empty() {
                    node.mood = Mood::Waits;
                    node.facts
                        .push(format!("{} not summed up", memory.missing.len()));
                }
                self.nodes.push(node);
            }
            Event::SessionEnded { reason } => {
                node.words = format!("the session: {}", word(reason));
                self.nodes.push(node);
            }
            Event::Summary { text } => {
                node.mood = Mood::Good;
                node.words = one_line(text);
                self.under_model(node);
            }
            Event::SummaryFailure { message } => {
                node.mood = Mood::Bad;
                node.words = one_line(message);
                self.nodes.push(node);
            }
            Event::Edited {} => self.nodes.push(node),
            Event::ApprovalRequest { .. } => {}
        }
    }

    fn under_model(&mut self, node: Node) {
        match self.nodes.iter_mut().rfind(|node| node.label == "model") {
            Some(model) => model.children.push(node),
            None => self.nodes.push(node),
        }
    }

    fn call(&mut self, id: &str) -> Option<&mut Node> {
        let (model, place) = self.calls.get(id)?;
        self.nodes.get_mut(*model)?.children.get_mut(*place)
    }

    /// Adds a part under a call, which stands under the model call that asked for it.
    fn under_call(&mut self, call: &CallSummary, node: Node) {
        if !self.calls.contains_key(&call.id) {
            let Some(model) = self.nodes.iter().rposition(|node| node.label == "model") else {
                return self.nodes.push(node);
            };
            let children = &mut self.nodes[model].children;
            children.push(Node {
                label: match call.target {
                    Some(Target::KnowledgeBase { .. }) => "look-up",
                    Some(Target::Collaborator { .. }) => "delegate",
                    _ => "call",
                },
                words: format!("{}({})", call.tool, arguments(&call.arguments)),
                ..Node::default()
            });
            let place = children.len() - 1;
            self.calls.insert(call.id.clone(), (model, place));
        }
        if let Some(call) = self.call(&call.id) {
            call.children.push(node);
        }
    }

    fn root(mut self, label: &'static str, words: String) -> Node {
        for (call, name, turn) in std::mem::take(&mut self.handed) {
            let root = turn.root("agent", name);
            match self.call(&call) {
                // Before what came of it.
                Some(call) => {
                    let last = call.children.iter().rposition(|one| one.label == "result");
                    let place = last.unwrap_or(call.children.len());
                    call.children.insert(place, root);
                }
                None => self.nodes.push(root),
            }
        }
        let spent = &self.spent;
        let mut facts = Vec::new();
        if !self.ended.is_empty() {
            facts.push(self.ended);
        }
        facts.push(counted(spent.steps, "model call"));
        facts.push(counted(spent.usage.total_tokens, "token"));
        facts.extend(dollars(spent.cost));
        facts.push(duration(spent.took_ms));
        Node {
            label,
            mood: match self.failed {
                true => Mood::Bad,
                false => Mood::Plain,
            },
            words,
            facts,
            took_ms: spent.took_ms,
            children: self.nodes,
            whole: None,
        }
    }
}

impl Node {
    fn of(event: &TraceEvent) -> Self {
        let told = serde_json::to_value(&event.event).unwrap_or_default();
        let detail = told.as_object().and_then(|told| told.values().next());
        let detail = detail.map_or(String::new(), |detail| {
            serde_json::to_string_pretty(&readable(detail)).unwrap_or_default()
        });
        Self {
            label: label(&event.event),
            whole: Some(Whole {
                step: event.step,
                time: event.time.clone(),
                digest: event.digest.clone(),
                detail,
            }),
            ..Self::default()
        }
    }
}

fn label(event: &Event) -> &'static str {
    match event {
        Event::Input { .. } => "user",
        Event::ModelInvocationInput { .. } => "model",
        Event::ModelInvocationOutput { .. } => "reply",
        Event::Rationale { .. } => "rationale",
        Event::Decision { .. } => "decision",
        Event::ApprovalRequest { .. } => "waits",
        Event::ApprovalResponse { .. } => "answered",
        Event::InvocationInput { .. } => "run",
        Event::Observation { .. } => "result",
        Event::FinalResponse { .. } => "answer",
        Event::Failure { .. } => "failure",
        Event::Edited { .. } => "edited",
        Event::MemoryRead { .. } => "memory",
        Event::SessionEnded { .. } => "ended",
        Event::Summary { .. } => "summary",
        Event::SummaryFailure { .. } => "failure",
    }
}

/// What a request's JSON in a text holds, as JSON.
fn readable(detail: &Value) -> Value {
    let mut detail = detail.clone();
    if let Some(inner) = detail["text"].as_str().and_then(|text| {
        let value: Value = serde_json::from_str(text).ok()?;
        value.is_object().then_some(value)
    }) {
        detail["text"] = inner;
    }
    detail
}

/// What came of a call, on one line.
fn told(outcome: &Outcome) -> (Mood, String) {
    match outcome {
        Outcome::Returned(Value::String(text)) => (Mood::Good, one_line(text)),
        Outcome::Returned(value) => (Mood::Good, one_line(&value.to_string())),
        Outcome::Cut { text, chars, .. } => (
            Mood::Waits,
            format!("{} [{chars} characters came]", one_line(text)),
        ),
        Outcome::Answered { text, .. } => (Mood::Good, one_line(text)),
        Outcome::Found { passages, .. } => {
            let mut documents: Vec<&str> = Vec::new();
            for passage in passages {
                let document = passage.location.document.as_str();
                if !documents.contains(&document) {
                    documents.push(document);
                }
            }
            let found = counted(passages.len(), "passage");
            (
                Mood::Good,
                one_line(&format!("{found}: {}", documents.join(", "))),
            )
        }
        other => (Mood::Bad, one_line(&other.words())),
    }
}

fn arguments(arguments: &Value) -> String {
    match arguments {
        Value::Object(members) => {
            let members = members
                .iter()
                .map(|(name, value)| format!("{name}={value}"));
            one_line(&members.collect::<Vec<_>>().join(", "))
        }
        other => one_line(&other.to_string()),
    }
}

/// The name of a variant without data.
fn word(value: &impl serde::Serialize) -> String {
    let value = serde_json::to_value(value).unwrap_or_default();
    value.as_str().unwrap_or_default().to_string()
}

fn counted(count: usize, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        _ => format!("{count} {what}s"),
    }
}

fn duration(ms: u64) -> String {
    match ms {
        0..1000 => format!("{ms} ms"),
        1000..60_000 => format!("{:.1} s", ms as f64 / 1000.0),
        _ => format!("{} min {} s", ms / 60_000, ms % 60_000 / 1000),
    }
}

fn dollars(cost: f64) -> Option<String> {
    (cost > 0.0).then(|| match cost < 0.01 {
        true => format!("${cost:.6}"),
        false => format!("${cost:.4}"),
    })
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests;
