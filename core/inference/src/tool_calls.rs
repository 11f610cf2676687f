//! Calls of tools in a reply's text, as Qwen (Hermes) and Llama 3 write them.
//!
//! Qwen writes `<tool_call>{"name": …, "arguments": {…}}</tool_call>`, several of them, with text
//! before; Llama 3 answers with nothing but `{"name": …, "parameters": {…}}`. Only well-formed JSON
//! that names a declared tool is a call; everything else stays text.

use outcrop_api::{ContentBlock, StreamEvent, ToolUse};
use serde_json::Value;

const OPEN: &str = "<tool_call>";
const CLOSE: &str = "</tool_call>";

/// Splits a reply's text into text and calls while it comes.
#[derive(Debug)]
pub(crate) struct ToolCalls {
    /// Names of the declared tools.
    tools: Vec<String>,
    /// Text of which it is not yet known what it is.
    held: String,
    state: State,
    /// Blanks before the opening tag: text only where no call follows.
    blanks: String,
    /// Number of the next call in the conversation, for its id.
    next_call: usize,
    /// Calls in this reply.
    found: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing but blanks so far.
    Start,
    /// In text.
    Text,
    /// Behind an opening tag.
    Call,
    /// In a reply that began with `{`: it may be one call as a whole.
    Object,
}

impl ToolCalls {
    /// A splitter for `tools`, in a conversation that already holds `calls` calls.
    pub fn new(tools: Vec<String>, calls: usize) -> Self {
        Self {
            tools,
            held: String::new(),
            state: State::Start,
            blanks: String::new(),
            next_call: calls,
            found: 0,
        }
    }

    /// How many calls the reply holds so far.
    pub fn found(&self) -> usize {
        self.found
    }

    /// Takes more text and gives what is certain.
    pub fn push(&mut self, delta: &str) -> Vec<StreamEvent> {
        self.held.push_str(delta);
        let mut events = Vec::new();
        while self.advance(&mut events) {}
        events
    }

    /// What is left when no more text comes.
    pub fn finish(&mut self) -> Vec<StreamEvent> {
        let rest = std::mem::take(&mut self.held);
        let event = match self.state {
            State::Object => self.call(&rest),
            State::Call => None,
            State::Start | State::Text if self.found > 0 && rest.trim().is_empty() => {
                return Vec::new();
            }
            State::Start | State::Text => None,
        };
        let text = match self.state {
            State::Call => format!("{}{OPEN}{rest}", self.blanks),
            _ => rest,
        };
        event
            .or((!text.is_empty()).then_some(StreamEvent::TextDelta(text)))
            .into_iter()
            .collect()
    }

    /// Takes one step through the held text. False when more text must come first.
    fn advance(&mut self, events: &mut Vec<StreamEvent>) -> bool {
        match self.state {
            State::Object => false,
            State::Start => match self.held.trim_start().chars().next() {
                None => false,
                Some(first) => {
                    let is_whole = first == '{' && self.found == 0;
                    self.state = if is_whole { State::Object } else { State::Text };
                    true
                }
            },
            State::Text => {
                let opening = self.held.find(OPEN);
                let end = opening.unwrap_or_else(|| certain(&self.held));
                let text: String = self.held.drain(..end).collect();
                if opening.is_some() {
                    self.held.drain(..OPEN.len());
                    self.state = State::Call;
                    let kept = text.trim_end();
                    self.blanks = text[kept.len()..].to_owned();
                    push_text(events, kept);
                } else {
                    push_text(events, &text);
                }
                opening.is_some()
            }
            State::Call => {
                let Some(end) = self.held.find(CLOSE) else {
                    return false;
                };
                let body: String = self.held.drain(..end + CLOSE.len()).collect();
                match self.call(&body[..end]) {
                    Some(call) => events.push(call),
                    None => push_text(events, &format!("{}{OPEN}{body}", self.blanks)),
                }
                self.state = State::Text;
                true
            }
        }
    }

    /// The call that `json` is, if it is one.
    fn call(&mut self, json: &str) -> Option<StreamEvent> {
        let value: Value = serde_json::from_str(json.trim()).ok()?;
        let name = value.get("name")?.as_str()?;
        let input = value.get("arguments").or_else(|| value.get("parameters"))?;
        if !input.is_object() || !self.tools.iter().any(|tool| tool == name) {
            return None;
        }
        let call = ToolUse {
            tool_use_id: format!("tooluse_{}", self.next_call),
            name: name.to_owned(),
            input: input.clone(),
        };
        self.next_call += 1;
        self.found += 1;
        Some(StreamEvent::Block(ContentBlock::ToolUse(call)))
    }
}

/// How much of `text`, which holds no opening tag, is certainly text: all but blanks at its end and
/// the beginning of a tag.
fn certain(text: &str) -> usize {
    let tag = (1..OPEN.len())
        .rev()
        .find(|&len| text.ends_with(&OPEN[..len]))
        .unwrap_or(0);
    text[..text.len() - tag].trim_end().len()
}

/// Adds text, where there is any.
fn push_text(events: &mut Vec<StreamEvent>, text: &str) {
    if !text.is_empty() {
        events.push(StreamEvent::TextDelta(text.to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    /// The whole reply with texts joined.
    fn run(deltas: &[&str]) -> Vec<StreamEvent> {
        let mut calls = ToolCalls::new(vec!["weather".to_owned()], 2);
        let mut events: Vec<StreamEvent> =
            deltas.iter().flat_map(|delta| calls.push(delta)).collect();
        events.extend(calls.finish());
        let mut joined: Vec<StreamEvent> = Vec::new();
        for event in events {
            match (joined.last_mut(), event) {
                (Some(StreamEvent::TextDelta(text)), StreamEvent::TextDelta(more)) => {
                    text.push_str(&more)
                }
                (_, event) => joined.push(event),
            }
        }
        joined
    }

    fn text(text: &str) -> StreamEvent {
        StreamEvent::TextDelta(text.to_owned())
    }

    fn call(id: usize, city: &str) -> StreamEvent {
        StreamEvent::Block(ContentBlock::ToolUse(ToolUse {
            tool_use_id: format!("tooluse_{id}"),
            name: "weather".to_owned(),
            input: json!({"city": city}),
        }))
    }

    const TWO: &str = "I look.\n<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"city\": \"Bern\"}}\n</tool_call>\n\
        <tool_call>\n{\"name\": \"weather\", \"arguments\": {\"city\": \"Ulm\"}}\n</tool_call>\n";

    #[test]
    fn hermes_calls_are_blocks_and_the_text_before_stays() {
        assert_eq!(
            run(&[TWO]),
            [text("I look."), call(2, "Bern"), call(3, "Ulm")]
        );
    }

    #[test]
    fn llama_calls_are_the_whole_reply() {
        let reply = "{\"name\": \"weather\", \"parameters\": {\"city\": \"Bern\"}}";
        assert_eq!(run(&[reply]), [call(2, "Bern")]);
        let more = format!("{reply} and more");
        assert_eq!(run(&[&more]), [text(&more)]);
    }

    #[test]
    fn what_is_no_call_of_a_declared_tool_stays_text() {
        for reply in [
            "<tool_call>{\"name\": \"rain\", \"arguments\": {}}</tool_call>",
            "<tool_call>{\"name\": \"weather\", \"arguments\": 3}</tool_call>",
            "<tool_call>{\"name\": \"weather\"",
            "a < b <tool_",
            "{\"city\": 1}",
            "  plain text \n",
        ] {
            assert_eq!(run(&[reply]), [text(reply)]);
        }
    }

    proptest! {
        #[test]
        fn borders_of_tokens_change_nothing(cuts in prop::collection::vec(1usize..12, 200)) {
            for reply in [TWO, "so <tool_call>{\"name\": 1}</tool_call> \n it goes", "{\"name\": \"weather\"}"] {
                let (mut deltas, mut rest) = (Vec::new(), reply);
                for cut in &cuts {
                    let (delta, more) = rest.split_at((*cut).min(rest.len()));
                    deltas.push(delta);
                    rest = more;
                }
                prop_assert_eq!(run(&deltas), run(&[reply]));
            }
        }
    }
}
