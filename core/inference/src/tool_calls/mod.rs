//! Calls of tools in a reply's text, as the model's family writes them.
//!
//! Only what is well-formed and names a declared tool is a call; everything else stays text. Reasoning
//! that a model writes stays in the text where the model wrote it: between `<think>` and `</think>`.

mod calls;
mod channels;
mod format;
pub(crate) mod parameters;

use outcrop_api::{StreamEvent, Tool};

use calls::Calls;
pub(crate) use channels::Channels;
pub(crate) use format::{CallSyntax, ToolFormat, of_template};
use parameters::FUNCTION_END;

/// What makes a reply's events of its text.
#[derive(Debug)]
pub(crate) enum ReplyReader {
    /// Text and calls in one stream.
    Tagged(ToolCalls),
    /// Channels, of which the user reads one.
    Channels(Channels),
}

impl ReplyReader {
    /// A reader of replies in `format` that may call `tools`, in a conversation that already holds
    /// `calls` calls. `None` where all is text.
    pub fn new(format: &'static ToolFormat, tools: Vec<Tool>, calls: usize) -> Option<Self> {
        if format.has_channels() {
            return Some(Self::Channels(Channels::new(tools, calls)));
        }
        (!tools.is_empty()).then(|| Self::Tagged(ToolCalls::new(format, tools, calls)))
    }

    /// How many calls the reply holds so far.
    pub fn found(&self) -> usize {
        match self {
            Self::Tagged(reader) => reader.calls.found(),
            Self::Channels(reader) => reader.found(),
        }
    }

    /// Takes more text and gives what is certain.
    pub fn push(&mut self, delta: &str) -> Vec<StreamEvent> {
        match self {
            Self::Tagged(reader) => reader.push(delta),
            Self::Channels(reader) => reader.push(delta),
        }
    }

    /// What is left when no more text comes.
    pub fn finish(&mut self) -> Vec<StreamEvent> {
        match self {
            Self::Tagged(reader) => reader.finish(),
            Self::Channels(reader) => reader.finish(),
        }
    }
}

/// Splits a reply's text into text and calls while it comes.
#[derive(Debug)]
pub(crate) struct ToolCalls {
    format: &'static ToolFormat,
    calls: Calls,
    /// Text of which it is not yet known what it is.
    held: String,
    state: State,
    /// Blanks before the calls: text only where none follows.
    blanks: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing but blanks so far.
    Start,
    /// In text.
    Text,
    /// Behind the trigger.
    Call,
    /// In a reply that may be calls as a whole.
    Whole,
}

/// What Llama 3.1 may write before a call.
const PYTHON_TAG: &str = "<|python_tag|>";

impl ToolCalls {
    /// A splitter for replies in `format`.
    pub fn new(format: &'static ToolFormat, tools: Vec<Tool>, calls: usize) -> Self {
        Self {
            format,
            calls: Calls::new(tools, calls),
            held: String::new(),
            state: State::Start,
            blanks: String::new(),
        }
    }

    fn push(&mut self, delta: &str) -> Vec<StreamEvent> {
        self.held.push_str(delta);
        let mut events = Vec::new();
        while self.advance(&mut events) {}
        events
    }

    fn finish(&mut self) -> Vec<StreamEvent> {
        let rest = std::mem::take(&mut self.held);
        let mut events = Vec::new();
        match self.state {
            State::Whole => {
                let body = rest.trim_start();
                let body = body.strip_prefix(PYTHON_TAG).unwrap_or(body);
                match self.calls.read(body, self.format) {
                    Some((calls, _)) => events.extend(calls),
                    None => push_text(&mut events, &rest),
                }
            }
            State::Call if self.format.stop.is_none() => self.read_calls(&rest, &mut events),
            State::Call => {
                let trigger = self.format.trigger.unwrap_or_default();
                let text = format!("{}{trigger}{rest}", self.blanks);
                push_text(&mut events, &text);
            }
            State::Start | State::Text => {
                if self.calls.found() == 0 || !rest.trim().is_empty() {
                    push_text(&mut events, &rest);
                }
            }
        }
        events
    }

    /// Takes one step through the held text. False when more text must come first.
    fn advance(&mut self, events: &mut Vec<StreamEvent>) -> bool {
        match self.state {
            State::Whole => false,
            State::Start => self.begin(),
            State::Text => self.pass_text(events),
            State::Call => {
                let Some(stop) = self.format.stop else {
                    return false;
                };
                let Some(end) = self.call_end(stop) else {
                    return false;
                };
                let body: String = self.held.drain(..end + stop.len()).collect();
                self.read_calls(&body, events);
                self.state = State::Text;
                true
            }
        }
    }

    /// Where the first `stop` stands that ends a call: in a parameter's text it is text.
    fn call_end(&self, stop: &str) -> Option<usize> {
        let ends = |at: &usize| {
            let before = self.held[..*at].trim_end();
            self.format.syntax != CallSyntax::Parameters || before.ends_with(FUNCTION_END)
        };
        self.held.match_indices(stop).map(|(at, _)| at).find(ends)
    }

    /// Decides what a reply is that has begun.
    fn begin(&mut self) -> bool {
        let begun = self.held.trim_start();
        let may_be_tag = !begun.is_empty() && PYTHON_TAG.starts_with(begun);
        if begun.is_empty() || self.format.trigger.is_none() && may_be_tag {
            return false;
        }
        let is_whole = begun.starts_with('{') || begun.starts_with(PYTHON_TAG);
        self.state = match self.format.trigger {
            None if is_whole => State::Whole,
            _ => State::Text,
        };
        true
    }

    /// Gives the text up to the trigger.
    fn pass_text(&mut self, events: &mut Vec<StreamEvent>) -> bool {
        let Some(trigger) = self.format.trigger else {
            let text = std::mem::take(&mut self.held);
            push_text(events, &text);
            return false;
        };
        let opening = self.held.find(trigger);
        let end = opening.unwrap_or_else(|| certain(&self.held, trigger));
        let text: String = self.held.drain(..end).collect();
        if opening.is_some() {
            self.held.drain(..trigger.len());
            self.state = State::Call;
            let kept = text.trim_end();
            self.blanks = text[kept.len()..].to_owned();
            push_text(events, kept);
        } else {
            push_text(events, &text);
        }
        opening.is_some()
    }

    /// The calls of `body`, which stands behind the trigger; what is none is text.
    fn read_calls(&mut self, body: &str, events: &mut Vec<StreamEvent>) {
        match self.calls.read(body, self.format) {
            Some((calls, rest)) => {
                events.extend(calls);
                if !rest.trim().is_empty() {
                    push_text(events, rest);
                }
            }
            None => {
                let trigger = self.format.trigger.unwrap_or_default();
                push_text(events, &format!("{}{trigger}{body}", self.blanks));
            }
        }
    }
}

/// How much of `text`, which holds no `trigger`, is certainly text: all but blanks at its end and
/// the beginning of a trigger.
fn certain(text: &str, trigger: &str) -> usize {
    let begun = trigger.char_indices().map(|(at, _)| at).rev();
    let begun = begun
        .filter(|at| *at > 0)
        .find(|at| text.ends_with(&trigger[..*at]))
        .unwrap_or(0);
    text[..text.len() - begun].trim_end().len()
}

/// Adds text, where there is any.
fn push_text(events: &mut Vec<StreamEvent>, text: &str) {
    if !text.is_empty() {
        events.push(StreamEvent::TextDelta(text.to_owned()));
    }
}

#[cfg(test)]
mod tests;
