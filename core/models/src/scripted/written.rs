//! One answer of a script as events: what the request allows of it.

use std::collections::VecDeque;
use std::time::Duration;

use outcrop_api::{
    ContentBlock, ConverseRequest, ReasoningContent, ReasoningText, StopReason, StreamEvent,
    ToolUse, Usage,
};
use sha2::{Digest, Sha256};

use super::count;
use super::rule::{Answer, FaultError};

/// One step of an answer.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Wait(Duration),
    Event(StreamEvent),
    Fail(FaultError),
    /// Nothing comes any more.
    Stall,
}

/// What a request leaves of an answer's text.
struct Limits<'a> {
    max_tokens: usize,
    stop_sequences: &'a [String],
}

impl Limits<'_> {
    /// How many bytes of `text` stand before the first stop sequence, or within so many tokens; and
    /// why it ends there, where it is cut.
    fn cut(&self, text: &str) -> (usize, Option<StopReason>) {
        let full = count::end_of(text, self.max_tokens);
        let stops = self.stop_sequences.iter();
        let stop = stops
            .filter_map(|stop| text[..full].find(stop.as_str()))
            .min();
        match stop {
            Some(at) => (at, Some(StopReason::StopSequence)),
            None if full < text.len() => (full, Some(StopReason::MaxTokens)),
            None => (full, None),
        }
    }
}

/// The steps of `answer` to `request`, of which `input` tokens were read. `key` is different for
/// every answer of every rule.
pub(super) fn steps(
    answer: &Answer,
    request: &ConverseRequest,
    input: usize,
    key: &str,
) -> VecDeque<Step> {
    let config = &request.inference_config;
    let mut limits = Limits {
        max_tokens: config.max_tokens.unwrap_or(usize::MAX),
        stop_sequences: &config.stop_sequences,
    };
    let mut steps = VecDeque::from([Step::Wait(answer.delay)]);
    let mut output = 0;
    let reasoning = answer.reasoning.concat();
    let (end, mut cut) = Limits {
        stop_sequences: &[],
        ..limits
    }
    .cut(&reasoning);
    if end > 0 {
        output += count::tokens(&reasoning[..end]);
        steps.push_back(Step::Event(thought(&reasoning[..end])));
    }
    limits.max_tokens = limits.max_tokens.saturating_sub(output);
    let text = answer.text.concat();
    let (end, text_cut) = match cut {
        Some(_) => (0, None),
        None => limits.cut(&text),
    };
    cut = cut.or(text_cut);
    output += count::tokens(&text[..end]);
    if deltas(answer, end, cut.is_some(), &mut steps) {
        return steps;
    }
    for (at, call) in answer.tool_uses.iter().enumerate() {
        let tokens = count::tokens(&call.name) + count::tokens(&call.input.to_string());
        if cut.is_none()
            && config
                .max_tokens
                .is_some_and(|limit| output + tokens > limit)
        {
            cut = Some(StopReason::MaxTokens);
        }
        if cut.is_some() {
            break;
        }
        output += tokens;
        let id = call
            .id
            .clone()
            .unwrap_or_else(|| tool_use_id(request, key, at));
        steps.push_back(Step::Event(StreamEvent::Block(ContentBlock::ToolUse(
            ToolUse {
                tool_use_id: id,
                name: call.name.clone(),
                input: call.input.clone(),
            },
        ))));
    }
    steps.push_back(Step::Event(StreamEvent::Done {
        stop_reason: cut.unwrap_or_else(|| stop_reason(answer)),
        usage: usage(answer, input, output, cut.is_some()),
    }));
    steps
}

/// Puts the deltas of the first `end` bytes of the text; whether the answer's fault ends it there.
fn deltas(answer: &Answer, end: usize, is_cut: bool, steps: &mut VecDeque<Step>) -> bool {
    let fault = answer.fault.as_ref();
    let (mut start, mut sent) = (0, 0);
    loop {
        if let Some(fault) = fault
            && fault.after_deltas == Some(sent)
        {
            steps.push_back(fault.error.clone().map_or(Step::Stall, Step::Fail));
            return true;
        }
        let Some(delta) = answer.text.get(sent) else {
            return false;
        };
        if is_cut && start >= end {
            return false;
        }
        let rest = &delta[..delta.len().min(end.saturating_sub(start))];
        if sent > 0 {
            steps.push_back(Step::Wait(answer.delta_delay));
        }
        steps.push_back(Step::Event(StreamEvent::TextDelta(rest.into())));
        start += delta.len();
        sent += 1;
    }
}

fn thought(text: &str) -> StreamEvent {
    let words = ReasoningText {
        text: text.into(),
        signature: None,
    };
    StreamEvent::Block(ContentBlock::ReasoningContent(
        ReasoningContent::ReasoningText(words),
    ))
}

fn stop_reason(answer: &Answer) -> StopReason {
    answer.stop_reason.unwrap_or_else(|| {
        match answer.tool_uses.iter().any(|call| call.is_malformed()) {
            true => StopReason::MalformedToolUse,
            false if answer.tool_uses.is_empty() => StopReason::EndTurn,
            false => StopReason::ToolUse,
        }
    })
}

/// What the script states, and what was counted where it states nothing, or where the request cut
/// the answer that it states it of.
fn usage(answer: &Answer, input: usize, output: usize, is_cut: bool) -> Usage {
    let stated = answer.usage;
    let output = stated.output.filter(|_| !is_cut).unwrap_or(output);
    Usage {
        cache_read_input_tokens: stated.cache_read.unwrap_or_default(),
        cache_write_input_tokens: stated.cache_write.unwrap_or_default(),
        ..Usage::new(stated.input.unwrap_or(input), output)
    }
}

/// An id in the form of Bedrock's: the same for the same conversation and place in the script.
fn tool_use_id(request: &ConverseRequest, key: &str, at: usize) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-";
    let messages = serde_json::to_vec(&request.messages).unwrap_or_default();
    let digest = Sha256::new()
        .chain_update(key)
        .chain_update([0])
        .chain_update(at.to_string())
        .chain_update([0])
        .chain_update(messages)
        .finalize();
    let letters = digest.iter().take(22);
    let letters = letters.map(|byte| LETTERS[usize::from(byte & 63)] as char);
    format!("tooluse_{}", letters.collect::<String>())
}
