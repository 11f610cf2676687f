//! Replies in channels, as GPT-OSS writes them: thoughts, calls and what the user reads.

use outcrop_api::{StreamEvent, Tool};

use super::calls::Calls;
use super::push_text;

/// What ends a message's body.
const ENDS: [&str; 5] = [
    "<|end|>",
    "<|call|>",
    "<|return|>",
    "<|start|>",
    "<|channel|>",
];

/// What stands before a message's body.
const TELLS: &str = "<|message|>";

/// Splits a reply in channels into text and calls. Thoughts are text between `<think>` and
/// `</think>`.
#[derive(Debug)]
pub(crate) struct Channels {
    calls: Calls,
    /// Text of which it is not yet known what it is.
    held: String,
    state: State,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// Before a message's body.
    Header,
    /// In what the user reads.
    Final,
    /// In a thought.
    Thought,
    /// In the arguments of a call of this tool.
    Call(String),
}

impl Channels {
    /// A splitter for `tools`, in a conversation that already holds `calls` calls.
    pub fn new(tools: Vec<Tool>, calls: usize) -> Self {
        Self {
            calls: Calls::new(tools, calls),
            held: String::new(),
            state: State::Header,
        }
    }

    /// How many calls the reply holds so far.
    pub fn found(&self) -> usize {
        self.calls.found()
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
        let mut events = Vec::new();
        let state = std::mem::replace(&mut self.state, State::Header);
        match state {
            State::Header | State::Final | State::Thought => push_text(&mut events, &rest),
            State::Call(name) => self.read_call(&name, &rest, &mut events),
        }
        events
    }

    /// Takes one step through the held text. False when more text must come first.
    fn advance(&mut self, events: &mut Vec<StreamEvent>) -> bool {
        if self.state == State::Header {
            let Some(end) = self.held.find(TELLS) else {
                return false;
            };
            let header: String = self.held.drain(..end + TELLS.len()).collect();
            self.state = channel(&header[..end]);
            if self.state == State::Thought {
                push_text(events, "<think>");
            }
            return true;
        }
        let found = ENDS
            .iter()
            .filter_map(|end| Some((self.held.find(end)?, *end)))
            .min();
        let Some((at, end)) = found else {
            if !matches!(self.state, State::Call(_)) {
                let certain = self.held.len() - begun_end(&self.held);
                let text: String = self.held.drain(..certain).collect();
                push_text(events, &text);
            }
            return false;
        };
        let body: String = self.held.drain(..at).collect();
        if end != "<|start|>" && end != "<|channel|>" {
            self.held.drain(..end.len());
        }
        match std::mem::replace(&mut self.state, State::Header) {
            State::Call(name) => self.read_call(&name, &body, events),
            State::Thought => push_text(events, &format!("{body}</think>\n\n")),
            State::Final | State::Header => push_text(events, &body),
        }
        true
    }

    /// A call of `name`, or the text where it is none.
    fn read_call(&mut self, name: &str, json: &str, events: &mut Vec<StreamEvent>) {
        match self.calls.read_one(name, json) {
            Some(call) => events.push(call),
            None => push_text(events, json),
        }
    }
}

/// What a message's header, the text before its body, says of it.
fn channel(header: &str) -> State {
    if let Some((_, recipient)) = header.split_once("to=functions.") {
        let name = recipient.split([' ', '<']).next().unwrap_or_default();
        return State::Call(name.to_owned());
    }
    match header.contains("analysis") || header.contains("commentary") {
        true => State::Thought,
        false => State::Final,
    }
}

/// How many bytes at the end of `text` may begin a message's end.
fn begun_end(text: &str) -> usize {
    let longest = ENDS.iter().map(|end| end.len()).max().unwrap_or(0);
    (1..longest.min(text.len() + 1))
        .rev()
        .filter(|length| text.is_char_boundary(text.len() - length))
        .find(|length| {
            let begun = &text[text.len() - length..];
            ENDS.iter().any(|end| end.starts_with(begun))
        })
        .unwrap_or(0)
}
