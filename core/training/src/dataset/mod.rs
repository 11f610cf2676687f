//! Examples from Bedrock's training files: JSON lines, each one example.
//!
//! | line | what is learned |
//! |---|---|
//! | `{"prompt": "…", "completion": "…"}` | the completion |
//! | `{"messages": [{"role", "content": [{"text"}]}], "system": [{"text"}]}` | every answer of the assistant |
//! | the same with `toolConfig`, `toolUse`, `toolResult` and `searchResult` | its calls of tools too |
//! | `{"input": "…"}` or `{"text": "…"}` | all of it |
//!
//! Every line is read before anything is trained, and each bad one is told with its number.

mod line;
mod pairs;

use std::fmt;
use std::ops::Range;
use std::panic::resume_unwind;

use outcrop_api::{Error, Result};
use outcrop_inference::{ChatTemplate, Tokenizer, on_own_stack};
use serde_json::Value;

pub use pairs::{Side, read_pairs};

/// One sequence, and which of its tokens are learned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Example {
    /// The tokens.
    pub ids: Vec<u32>,
    /// Positions whose tokens are learned.
    pub learned: Vec<Range<usize>>,
}

impl Example {
    /// An example that is learned wholly.
    pub fn of_text(ids: Vec<u32>) -> Self {
        let learned = std::iter::once(0..ids.len()).collect();
        Self { ids, learned }
    }

    /// Whether the token at `position` is learned.
    pub fn is_learned(&self, position: usize) -> bool {
        self.learned.iter().any(|range| range.contains(&position))
    }
}

/// A line that is not an example.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadLine {
    /// The file.
    pub file: String,
    /// Its number, from 1.
    pub line: usize,
    /// What was expected and what came.
    pub reason: String,
}

impl BadLine {
    /// How many lines of `what` are bad, and the first twenty with their reasons.
    pub fn list(bad: &[Self], what: &str) -> String {
        const SHOWN: usize = 20;
        let shown: Vec<String> = bad.iter().take(SHOWN).map(Self::to_string).collect();
        let rest = match bad.len().saturating_sub(SHOWN) {
            0 => String::new(),
            rest => format!("; and {rest} more"),
        };
        let count = bad.len();
        format!("{count} bad lines of {what}: {}{rest}", shown.join("; "))
    }
}

impl fmt::Display for BadLine {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} line {}: {}", self.file, self.line, self.reason)
    }
}

/// How lines become tokens.
#[derive(Debug)]
pub struct Reader<'a> {
    /// The model's tokenizer.
    pub tokenizer: &'a Tokenizer,
    /// Its chat template, where it has one. Without it prompts stand as they are, and messages are
    /// refused.
    pub template: Option<&'a ChatTemplate>,
    /// The longest example, in tokens. Longer examples are bad lines; text that is learned wholly is
    /// cut into pieces of that length, of which every token is learned from.
    pub max_tokens: usize,
}

/// Lines that are worth a thread of their own.
const LINES_A_THREAD: usize = 256;

impl Reader<'_> {
    /// The examples of the JSON lines of `text`, and the lines that are none, in their order. Empty
    /// lines are skipped. Long texts are read by as many threads as the machine has cores.
    pub fn read(&self, file: &str, text: &str) -> (Vec<Example>, Vec<BadLine>) {
        let lines: Vec<&str> = text.lines().collect();
        let most = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = lines.len().div_ceil(LINES_A_THREAD).clamp(1, most);
        let share = lines.len().div_ceil(threads).max(1);
        let read = |(first, lines): (usize, &[&str])| {
            // Templates and tokenizers nest: one roomy stack serves all the lines of a share.
            on_own_stack("reader", || self.share(file, first, lines)).unwrap_or_else(|reason| {
                let bad = BadLine {
                    file: file.to_owned(),
                    line: first,
                    reason,
                };
                (Vec::new(), vec![bad])
            })
        };
        let parts: Vec<_> = std::thread::scope(|scope| {
            let shares = (1..).step_by(share).zip(lines.chunks(share));
            let readers: Vec<_> = shares.map(|part| scope.spawn(move || read(part))).collect();
            let joined = readers.into_iter().map(std::thread::ScopedJoinHandle::join);
            joined
                .map(|part| part.unwrap_or_else(|panic| resume_unwind(panic)))
                .collect()
        });
        let (mut examples, mut bad) = (Vec::new(), Vec::new());
        for (own, own_bad) in parts {
            examples.extend(own);
            bad.extend(own_bad);
        }
        (examples, bad)
    }

    /// The examples of lines of which the first has the number `first`, and the lines that are none.
    fn share(&self, file: &str, first: usize, lines: &[&str]) -> (Vec<Example>, Vec<BadLine>) {
        let (mut examples, mut bad) = (Vec::new(), Vec::new());
        for (number, line) in (first..).zip(lines) {
            if line.trim().is_empty() {
                continue;
            }
            let value = serde_json::from_str::<Value>(line)
                .map_err(|error| format!("expected a JSON object: {error}"));
            match value.and_then(|value| self.value(&value)) {
                Ok(own) => examples.extend(own),
                Err(reason) => bad.push(BadLine {
                    file: file.to_owned(),
                    line: number,
                    reason,
                }),
            }
        }
        (examples, bad)
    }
}

/// The examples, if no line is bad.
///
/// # Errors
/// `ValidationException` naming how many lines are bad, and the first twenty with their reasons; or
/// that there is no example.
pub fn all_good<T>((examples, bad): (Vec<T>, Vec<BadLine>), file: &str) -> Result<Vec<T>> {
    if !bad.is_empty() {
        return Err(Error::validation(BadLine::list(&bad, "training data")));
    }
    if examples.is_empty() {
        return Err(Error::validation(format!(
            "{file}: expected at least one example, found none"
        )));
    }
    Ok(examples)
}
