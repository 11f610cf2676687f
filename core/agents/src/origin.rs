//! Where the arguments of a call come from: what the user said, what tools gave, what documents say.
//!
//! Text from documents, tools and other agents may hold instructions that nobody in charge wrote. A
//! policy can forbid it to choose recipients, paths or amounts: it then allows a call only where
//! the value stands in what the user said, or is a whole member of a result that it trusts.

use std::collections::{BTreeMap, BTreeSet};

use outcrop_api::{ContentBlock, Error, Result, Role, ToolResult, ToolResultContent};
use serde::Serialize;
use serde_json::Value;

use crate::call::Call;
use crate::conversation::Conversation;
use crate::toolbox::{Target, Toolbox};
use crate::turn::Turn;

/// Where one argument of a call comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Origin {
    /// The argument, such as `to`, `address.street` or `items[].id`.
    pub argument: String,
    /// Every source that has its value: `user`, `instruction`, `session`;
    /// `function:<group>.<function>#<member>` where it is a whole member of a result;
    /// `text:function:<group>.<function>`, `text:document` or `text:agent:<name>` where it stands
    /// in a text of one; `text:memory` where it stands in what earlier sessions held; `model` where
    /// it stands nowhere.
    pub sources: Vec<String>,
}

/// The sources of each argument of `call`.
///
/// # Errors
/// As [`crate::Turn::next`].
pub fn origins(conversation: &Conversation, call: &Call) -> Result<Vec<Origin>> {
    let read = Read::of(conversation, &call.id)?;
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (argument, value) in leaves(&call.arguments) {
        let sources = read.sources(&value);
        match found.get_mut(&argument) {
            // Of the items of a list, all must be from a source that counts as the list's.
            Some(common) => common.retain(|source| sources.contains(source)),
            None => {
                found.insert(argument, sources);
            }
        }
    }
    let origins = found.into_iter().map(|(argument, mut sources)| {
        if sources.is_empty() {
            sources.push("model".into());
        }
        Origin { argument, sources }
    });
    Ok(origins.collect())
}

/// The kinds of text that stand behind `call` and nobody in charge wrote: `function`, `document`,
/// `agent`, `memory`. What an agent has read stands behind all that it hands on, and what it was told of.
///
/// # Errors
/// As [`crate::Turn::next`].
pub fn read_from(conversation: &Conversation, call: &Call) -> Result<Vec<String>> {
    let mut kinds = BTreeSet::new();
    let turn = conversation.turn.iter();
    for turn in turn.flat_map(|turn| turn.down_to(&call.id)) {
        kinds.extend(turn.heard()?);
    }
    Ok(kinds.into_iter().collect())
}

/// What stands before a call: what a session has read, as far as the agent knows that makes it.
struct Read {
    user: Vec<String>,
    instruction: String,
    session: Vec<String>,
    memory: Vec<String>,
    results: Vec<(Target, Value)>,
}

impl Read {
    fn of(conversation: &Conversation, call: &str) -> Result<Self> {
        let turns = conversation.turn.iter();
        let turns: Vec<&Turn> = turns.flat_map(|turn| turn.down_to(call)).collect();
        let [first, .., turn] = turns[..] else {
            return match turns.first() {
                Some(turn) => Self::of_turn(conversation, turn, None),
                None => Err(Error::internal(format!("call {call}: no turn has begun"))),
            };
        };
        // What an agent is handed is the words of the agent above it. The user's own are known.
        let over = turns[turns.len() - 2].agent().name.clone();
        let mut read = Self::of_turn(conversation, turn, Some(over))?;
        read.user = Self::of_turn(conversation, first, None)?.user;
        Ok(read)
    }

    /// What one turn has read, which the agent `over` handed its work to where there is one.
    fn of_turn(conversation: &Conversation, turn: &Turn, over: Option<String>) -> Result<Self> {
        let toolbox = Toolbox::of(turn.agent())?;
        let mut names: BTreeMap<&str, &str> = BTreeMap::new();
        let (mut user, mut results) = (Vec::new(), Vec::new());
        for message in &turn.messages {
            for block in &message.content {
                match block {
                    ContentBlock::ToolUse(tool_use) => {
                        names.insert(&tool_use.tool_use_id, &tool_use.name);
                    }
                    ContentBlock::ToolResult(result) => {
                        let name = names.get(result.tool_use_id.as_str());
                        let target = name.and_then(|name| toolbox.find(name));
                        if let Some((_, target)) = target {
                            results.push((target.clone(), value_of(result)));
                        }
                    }
                    ContentBlock::Text(text) if message.role == Role::User => match &over {
                        None => user.push(text.clone()),
                        Some(name) => results.push((
                            Target::Collaborator { name: name.clone() },
                            Value::String(text.clone()),
                        )),
                    },
                    _ => {}
                }
            }
        }
        let attributes = conversation.session_attributes.values();
        let facts = turn.beginning.prompt_session_attributes.values();
        let past = turn.beginning.memory.iter().flat_map(|one| &one.sessions);
        Ok(Self {
            memory: past.map(|one| one.summary.clone()).collect(),
            user,
            instruction: turn.agent().instruction.clone(),
            session: attributes.chain(facts).cloned().collect(),
            results,
        })
    }

    fn sources(&self, value: &Value) -> Vec<String> {
        let Some(text) = written(value) else {
            return Vec::new();
        };
        let mut sources = Vec::new();
        let mut add = |source: String| {
            if !sources.contains(&source) {
                sources.push(source);
            }
        };
        if self.user.iter().any(|said| stands_in(&text, said)) {
            add("user".into());
        }
        if stands_in(&text, &self.instruction) {
            add("instruction".into());
        }
        if self.session.iter().any(|fact| stands_in(&text, fact)) {
            add("session".into());
        }
        if self.memory.iter().any(|summary| stands_in(&text, summary)) {
            add("text:memory".into());
        }
        for (target, result) in &self.results {
            for (member, leaf) in leaves(result) {
                let Some(leaf) = written(&leaf) else {
                    continue;
                };
                match target {
                    Target::Function {
                        action_group,
                        function,
                        ..
                    } => {
                        if leaf == text {
                            add(format!("function:{action_group}.{function}#{member}"));
                        }
                        if stands_in(&text, &leaf) {
                            add(format!("text:function:{action_group}.{function}"));
                        }
                    }
                    Target::KnowledgeBase { .. } if stands_in(&text, &leaf) => {
                        add("text:document".into())
                    }
                    Target::Collaborator { name } if stands_in(&text, &leaf) => {
                        add(format!("text:agent:{name}"));
                    }
                    _ => {}
                }
            }
        }
        sources
    }
}

fn value_of(result: &ToolResult) -> Value {
    let blocks = result.content.iter().map(|block| match block {
        ToolResultContent::Json(value) => value.clone(),
        ToolResultContent::Text(text) => Value::String(text.clone()),
    });
    let mut blocks: Vec<Value> = blocks.collect();
    match blocks.len() {
        1 => blocks.remove(0),
        _ => Value::Array(blocks),
    }
}

/// The members of a value that hold no others, with their places; items of a list share one place.
fn leaves(value: &Value) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    gather("", value, &mut found);
    found
}

fn gather(place: &str, value: &Value, found: &mut Vec<(String, Value)>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                let point = if place.is_empty() { "" } else { "." };
                gather(&format!("{place}{point}{name}"), member, found);
            }
        }
        Value::Array(items) => {
            for item in items {
                gather(&format!("{place}[]"), item, found);
            }
        }
        leaf => found.push((place.to_string(), leaf.clone())),
    }
}

/// The words of a leaf; none where it is true, false or null, which every text holds.
fn written(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.trim().to_string()),
        Value::Number(number) => Some(match number.as_f64() {
            Some(whole) if whole.fract() == 0.0 && whole.abs() < 1e15 => format!("{whole:.0}"),
            _ => number.to_string(),
        }),
        _ => None,
    }
}

/// Whether `text` holds `part` as words of its own: `10` does not stand in `100`, nor in `1.10`.
fn stands_in(part: &str, text: &str) -> bool {
    if part.is_empty() {
        return false;
    }
    let is_number = part.parse::<f64>().is_ok();
    let inside = |c: char| c.is_alphanumeric() || c == '_';
    let free = |rest: &str, forward: bool| {
        let mut after: Box<dyn Iterator<Item = char>> = match forward {
            true => Box::new(rest.chars()),
            false => Box::new(rest.chars().rev()),
        };
        match (after.next(), after.next()) {
            (Some(c), _) if inside(c) => false,
            // The point or the comma of a longer number, or of a longer address.
            (Some('.' | ',' | '@' | '-' | '/'), Some(c)) if inside(c) => false,
            (Some('-'), _) if is_number && !forward => false,
            _ => true,
        }
    };
    let mut from = 0;
    while let Some(at) = text[from..].find(part).map(|at| from + at) {
        let end = at + part.len();
        if free(&text[..at], false) && free(&text[end..], true) {
            return true;
        }
        from = at + part.chars().next().map_or(1, char::len_utf8);
    }
    // Thousands are often set apart by commas.
    is_number && text.contains(',') && grouped(text).is_some_and(|plain| stands_in(part, &plain))
}

/// `text` without the commas between digits; none where there are none.
fn grouped(text: &str) -> Option<String> {
    let signs: Vec<char> = text.chars().collect();
    let digit = |at: Option<usize>| {
        at.and_then(|at| signs.get(at))
            .is_some_and(char::is_ascii_digit)
    };
    let kept = signs.iter().enumerate().filter(|(at, sign)| {
        !(**sign == ',' && digit(at.checked_sub(1)) && (1..=3).all(|n| digit(Some(at + n))))
    });
    let plain: String = kept.map(|(_, sign)| *sign).collect();
    (plain.len() != text.len()).then_some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_stands_in_a_text_as_words_of_its_own() {
        for (part, text) in [
            ("10", "Pay 10 to bob."),
            ("10", "Pay 10."),
            ("5000", "At most 5,000 dollars"),
            ("bob@bank.example", "Mail bob@bank.example."),
            ("Bob", "(Bob)"),
            ("/data/a.txt", "read /data/a.txt, please"),
        ] {
            assert!(stands_in(part, text), "{part} in {text}");
        }
        for (part, text) in [
            ("10", "Pay 100."),
            ("10", "Pay 1.10"),
            ("0", "Pay 5,000."),
            ("10", "Pay -10"),
            ("bank.example", "Mail bob@bank.example."),
            ("bob@bank.example", "Mail bob@bank.example.evil"),
            ("bob@bank", "Mail bob@bank.example"),
            ("a.txt", "read /data/a.txt"),
            ("", "anything"),
        ] {
            assert!(!stands_in(part, text), "{part} in {text}");
        }
    }
}
